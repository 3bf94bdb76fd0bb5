"""What is measured along a training besides loss and accuracy."""
