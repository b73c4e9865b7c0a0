import json

from likeness import Client

with Client() as client:
    picture = client.upload_image("best.png").content_hash
    manifest = "\n".join(json.dumps({"item_id": str(number), "image": picture}) for number in range(1000))
    # Uploads the manifest in as many parts as its size asks for, then creates the evaluation.
    print(client.create_evaluation(manifest.encode()).name)
