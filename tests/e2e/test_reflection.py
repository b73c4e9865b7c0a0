"""A client that knows nothing but server reflection can list the services and call one."""

from __future__ import annotations

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def test_reflection_lists_and_calls_the_gateway(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    names = set(database.get_services())
    assert {"likeness.gateway.v1.SessionService", "likeness.gateway.v1.CatalogService"} <= names
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= names

    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("likeness.gateway.v1.CatalogService").FindMethodByName("ListMetrics")
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    call = channel.unary_unary(
        "/likeness.gateway.v1.CatalogService/ListMetrics",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    listed = json_format.MessageToDict(call(request(), timeout=30))
    assert "clip-embedded" in {metric["id"] for metric in listed["metrics"]}
