"""Which lines let a training follow an exported schedule? A page with those of each library."""

from __future__ import annotations

from pathlib import Path
from string import Template

from results.exports.formula import formula_text
from results.statistics.wording import format_params
from search_spaces.trial import TrialConfig

PAGE = Template("""\
# Schedule $title

$length

```text
$formula
```

lr is that of a parameter group without an lr of its own; every other group keeps its share. The
table is `schedule.csv`; without GradTune, `torch_snippet.py` follows it.

## torch

```python
from torch.utils.data import DataLoader
from trainables.adapters import ScheduleBatchSampler, ScheduleLR, read_schedule

schedule = read_schedule($folder)
loader = DataLoader(data, batch_sampler=ScheduleBatchSampler(schedule, len(data), seed=0))
scheduler = ScheduleLR(optimizer, schedule)
for batch in loader:
    loss(model, batch).backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
```

## Transformers

```python
from trainables.adapters import read_schedule
from trainables.adapters.transformers import follow_schedule
from transformers import Trainer, TrainingArguments

schedule = read_schedule($folder)
args = TrainingArguments("out", max_steps=$num_steps, per_device_train_batch_size=$batch0)
trainer = Trainer(model, args, train_dataset=data)
follow_schedule(trainer, schedule, seed=0)
trainer.train()
```

## Lightning

```python
import lightning
from torch.utils.data import DataLoader
from trainables.adapters import ScheduleBatchSampler, read_schedule
from trainables.adapters.lightning import ScheduleCallback

sampler = ScheduleBatchSampler(read_schedule($folder), len(data), seed=0)
trainer = lightning.Trainer(max_epochs=1, callbacks=[ScheduleCallback(sampler)])
trainer.fit(model, DataLoader(data, batch_sampler=sampler))
```

## timm

```python
from torch.utils.data import DataLoader
from trainables.adapters import ScheduleBatchSampler, read_schedule
from trainables.adapters.timm import TimmScheduleLR

schedule = read_schedule($folder)
loader = DataLoader(data, batch_sampler=ScheduleBatchSampler(schedule, len(data), seed=0))
scheduler = TimmScheduleLR(optimizer, schedule)
for num_updates, batch in enumerate(loader, 1):
    loss(model, batch).backward()
    optimizer.step()
    scheduler.step_update(num_updates)
    optimizer.zero_grad()
```
""")


def adapters_page(trial: TrialConfig, original: TrialConfig, folder: Path) -> str:
    """Markdown: the schedule as a formula, and the lines that join it to each library.

    Args:
        trial: what is exported, `original` at its length. original: the config of the run.
        folder: where the exported table lies.
    """
    table = trial.schedule
    epochs = table.total_samples / table.epoch_samples
    length = f"{epochs:.6g} epochs of {table.epoch_samples} samples"
    if epochs != original.recipe.epochs:
        length += f", stretched from {original.recipe.epochs} epochs"
        length += ": that its lr is best here too was not tried"
    return PAGE.substitute(
        title=_prose(f"{trial.space}: {format_params(original.params)}"),
        length=f"{length}.",
        formula="\n".join(map(_prose, formula_text(trial).splitlines())),
        folder=repr(str(folder)),
        num_steps=table.num_steps(),
        batch0=int(table.batch_size_S[0]),
    )


def _prose(text: str) -> str:
    """Names come from a file: they must not end the block that they stand in."""
    return "".join(c if c.isprintable() else " " for c in text).replace("`", "'")
