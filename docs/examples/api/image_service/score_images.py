from likeness import Client

with Client() as client:
    for result in client.score("target.png", ["best.png", "other.png"]):
        print([(score.metric, round(score.normalized, 3)) for score in result.scores])
