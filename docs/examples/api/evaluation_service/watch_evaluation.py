import json

from likeness import Client, EvaluationResult

with Client() as client:
    target, picture = (client.upload_image(path).content_hash for path in ("target.png", "best.png"))
    item = {"item_id": "car", "system": "mine", "target": target, "image": picture}
    evaluation = client.create_evaluation(json.dumps(item).encode())
    for update in client.watch_evaluation(evaluation):
        if isinstance(update, EvaluationResult):
            print(update.item_id, [(score.metric, score.raw) for score in update.images[0].scores])
