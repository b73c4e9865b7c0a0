from likeness import Client, FailedPrecondition

with Client() as client:
    race = client.create_race(
        {"car": "target.png"},
        {"long": {"rounds": 2, "candidates": 1}, "short": {"rounds": 1, "candidates": 1}},
    )
    try:
        print(client.cancel_race(race).state)
    except FailedPrecondition as error:
        print(error.reason)  # RACE_NOT_RUNNING: it ended by itself before
