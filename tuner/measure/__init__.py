"""python -m tuner.measure: what is the noise of this training?"""
