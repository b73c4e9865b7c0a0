"""A client that knows nothing but reflection lists the services, learns the messages and calls a method."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.gateway.conftest import Gateway, Parts, running

pytestmark = pytest.mark.integration

SERVICE = "likeness.gateway.v1.SessionService"


async def test_reflection_is_enough_to_call(gateway: Gateway) -> None:
    await gateway.create(display_name="seen through a mirror")
    assert {SERVICE, "likeness.gateway.v1.ProfileService"} <= await list_services(gateway.channel)
    pool = descriptor_pool.DescriptorPool()
    await load(gateway.channel, pool, SERVICE)
    method = pool.FindServiceByName(SERVICE).FindMethodByName("ListSessions")
    request = message_factory.GetMessageClass(method.input_type)(page_size=5)
    call = gateway.channel.unary_unary(
        f"/{SERVICE}/ListSessions",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    answer = json_format.MessageToDict(await call(request))
    assert [one["displayName"] for one in answer["sessions"]] == ["seen through a mirror"]


async def test_reflection_can_be_turned_off(database_url: str, parts: Parts) -> None:
    async with running(database_url, parts, reflection=False) as one:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await list_services(one.channel)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def ask(channel: grpc.aio.Channel, **question: str) -> reflection_pb2.ServerReflectionResponse:
    """One answer of the reflection service."""
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(**question)])
    )
    return await anext(aiter(call))  # type: ignore[no-any-return]


async def list_services(channel: grpc.aio.Channel) -> set[str]:
    """Names of the services."""
    answer = await ask(channel, list_services="")
    return {one.name for one in answer.list_services_response.service}


async def load(channel: grpc.aio.Channel, pool: descriptor_pool.DescriptorPool, symbol: str) -> None:
    """Loads the file that defines a symbol, and all files it needs."""
    answer = await ask(channel, file_containing_symbol=symbol)
    waiting = list(answer.file_descriptor_response.file_descriptor_proto)
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    while waiting:
        file = descriptor_pb2.FileDescriptorProto.FromString(waiting.pop())
        files[file.name] = file
        for name in file.dependency:
            if name not in files:
                found = await ask(channel, file_by_filename=name)
                waiting += found.file_descriptor_response.file_descriptor_proto

    def add(name: str) -> None:
        file = files.pop(name, None)
        if file is not None:
            for dependency in file.dependency:
                add(dependency)
            pool.Add(file)

    for name in list(files):
        add(name)
