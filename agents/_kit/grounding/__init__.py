"""The check of answers without a model: what an answer says, against what was read and computed."""
