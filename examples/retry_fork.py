"""Go on after an end: a run that failed is retried with more money, a completed one forked with another task."""

from signalbox import RunFailedError, Signalbox

with Signalbox() as client:
    run = client.runs.create(
        "Compute the mean of 5, 6 and 10.", budget={"max_tokens": 700}, approvals="never"
    )
    try:
        client.follow(run.id)
    except RunFailedError as error:
        print(error)
    client.runs.retry(run.id, budget={"max_tokens": 50_000})
    print("It goes on:", client.follow(run.id).output)
    for checkpoint in client.runs.history(run.id):
        print(checkpoint.step, checkpoint.checkpoint_id, checkpoint.next)
    fork = client.runs.fork(run.id, task="Compute the median of 5, 6 and 10.")
    print("Another way:", client.follow(fork.id).output)
