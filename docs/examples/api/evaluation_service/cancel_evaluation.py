import json

from likeness import Client, FailedPrecondition

with Client() as client:
    target, picture = (client.upload_image(path).content_hash for path in ("target.png", "best.png"))
    item = {"item_id": "car", "system": "mine", "target": target, "image": picture}
    evaluation = client.create_evaluation(json.dumps(item).encode())
    try:
        print(client.cancel_evaluation(evaluation).state)
    except FailedPrecondition as error:
        print(error.reason)  # EVALUATION_NOT_OPEN: it ended by itself before
