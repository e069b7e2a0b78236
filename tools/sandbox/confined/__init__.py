"""What runs inside a confined process: plain files for another interpreter, which import nothing of ours."""
