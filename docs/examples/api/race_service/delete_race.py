from likeness import Client

with Client() as client:
    race = client.create_race(
        {"car": "target.png"},
        {"long": {"rounds": 2, "candidates": 1}, "short": {"rounds": 1, "candidates": 1}},
    )
    client.delete_race(race)
