from likeness import Client

with Client() as client:
    stored = client.upload_image("target.png")
    picture = client.get_image(stored.content_hash)
    print(picture.size)
