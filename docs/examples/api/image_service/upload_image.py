from likeness import Client

with Client() as client:
    stored = client.upload_image("target.png")
    print(stored.content_hash, stored.width_pixels, stored.height_pixels)
