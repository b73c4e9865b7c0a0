import json

from likeness import Client

with Client() as client:
    target, picture = (client.upload_image(path).content_hash for path in ("target.png", "best.png"))
    item = {"item_id": "car", "system": "mine", "target": target, "image": picture}
    evaluation = client.create_evaluation(json.dumps(item).encode())
    print(evaluation.name, evaluation.state)
