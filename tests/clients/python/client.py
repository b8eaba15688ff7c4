"""Runs a published Python client (aetcd) against one server and checks every answer.

Prints "ok NAME" or "FAIL NAME: why" for each check and ends with 1 if one failed.
"""

import asyncio
import sys
import traceback

import aetcd

CHECKS = []
# Far above what any check takes; one that gets here has found a hang.
TIMEOUT_S = 60


def check(function):
    CHECKS.append(function)
    return function


def equal(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


async def first_events(watch, count):
    events = []
    async for event in watch:
        events.append(event)
        if len(events) == count:
            return events


@check
async def kv_put_and_get(c):
    first = await c.put(b"py/a", b"1")
    second = await c.put(b"py/a", b"2", prev_kv=True)
    equal(second.header.revision, first.header.revision + 1)
    equal(second.prev_kv.value, b"1")
    got = await c.get(b"py/a")
    equal((got.value, got.version, got.lease), (b"2", 2, 0))
    equal((got.create_revision, got.mod_revision), (first.header.revision, second.header.revision))
    equal(await c.get(b"py/none"), None)
    equal((await c.get(b"py/a", serializable=True)).value, b"2")


@check
async def kv_ranges(c):
    for key, value in [(b"a", b"3"), (b"b", b"1"), (b"c", b"2")]:
        await c.put(b"py/range/" + key, value)
    found = await c.get_prefix(b"py/range/")
    equal([kv.key[-1:] for kv in found], [b"a", b"b", b"c"])
    equal((found.count, found.more), (3, False))
    found = await c.get_prefix(b"py/range/", sort_order="descend", sort_target="value")
    equal([kv.value for kv in found], [b"3", b"2", b"1"])
    found = await c.get_range(b"py/range/b", b"py/range/c")
    equal([kv.value for kv in found], [b"1"])
    found = await c.get_prefix(b"py/range/", keys_only=True)
    equal([kv.value for kv in found], [b"", b"", b""])


@check
async def kv_delete(c):
    await c.put(b"py/del/a", b"1")
    await c.put(b"py/del/b", b"2")
    deleted = await c.delete(b"py/del/a", prev_kv=True)
    equal(deleted.prev_kv.value, b"1")
    deleted = await c.delete_prefix(b"py/del/", prev_kv=True)
    equal((deleted.deleted, deleted[0].value), (1, b"2"))
    equal(await c.delete(b"py/del/a"), None)


@check
async def kv_replace_only_what_is_there(c):
    await c.put(b"py/replace", b"old")
    equal(await c.replace(b"py/replace", b"other", b"new"), False)
    equal(await c.replace(b"py/replace", b"old", b"new"), True)
    equal((await c.get(b"py/replace")).value, b"new")


@check
async def kv_bytes_of_every_kind(c):
    every = bytes(range(256))
    await c.put(b"py/bytes" + every, every * 1000)
    equal((await c.get(b"py/bytes" + every)).value, every * 1000)


@check
async def kv_refusals(c):
    for request in [c.put(b"", b"v"), c.put(b"k", b"x" * 1_600_000)]:
        try:
            await request
        except aetcd.InvalidArgumentError:
            continue
        raise AssertionError("must be refused")


@check
async def txn_both_branches(c):
    t = c.transactions

    async def create():
        return await c.transaction(
            compare=[t.create(b"py/txn") == 0],
            success=[t.put(b"py/txn", b"1"), t.get(b"py/txn")],
            failure=[t.get(b"py/txn"), t.delete(b"py/txn")],
        )

    succeeded, responses = await create()
    equal(succeeded, True)
    equal([value for value, _ in responses[1]], [b"1"])
    succeeded, responses = await create()
    equal(succeeded, False)
    equal([value for value, _ in responses[0]], [b"1"])
    equal(responses[1].response_delete_range.deleted, 1)


@check
async def txn_comparisons(c):
    t = c.transactions
    put = await c.put(b"py/cmp", b"m")
    revision = put.header.revision
    for compare, holds in [
        (t.value(b"py/cmp") == b"m", True),
        (t.value(b"py/cmp") != b"m", False),
        (t.value(b"py/cmp") > b"a", True),
        (t.value(b"py/cmp") < b"a", False),
        (t.version(b"py/cmp") == 1, True),
        (t.mod(b"py/cmp") > revision - 1, True),
        (t.create(b"py/cmp") < revision, False),
        (t.value(b"py/cmp/none") != b"m", False),
        (t.version(b"py/cmp/none") == 0, True),
    ]:
        succeeded, _ = await c.transaction(compare=[compare], success=[], failure=[])
        equal((repr(compare), succeeded), (repr(compare), holds))


@check
async def watch_puts_and_deletes(c):
    watch = await c.watch_prefix(b"py/watch/", prev_kv=True)
    await c.put(b"py/watch/a", b"1")
    await c.put(b"py/watch/a", b"2")
    await c.delete(b"py/watch/a")
    events = await first_events(watch, 3)
    equal([event.kind for event in events], ["PUT", "PUT", "DELETE"])
    equal([event.kv.value for event in events], [b"1", b"2", b""])
    # The client shows a missing previous value as an empty one.
    equal([event.prev_kv.value for event in events], [b"", b"1", b"2"])
    await watch.cancel()


@check
async def watch_history(c):
    first = (await c.put(b"py/history", b"0")).header.revision
    for number in range(1, 1500):
        await c.put(b"py/history", b"%d" % number)
    watch = await c.watch(b"py/history", start_revision=first)
    events = await first_events(watch, 1500)
    equal([event.kv.mod_revision for event in events], list(range(first, first + 1500)))
    await watch.cancel()


@check
async def watch_filters(c):
    watch = await c.watch(b"py/filter", kind=aetcd.EventKind.DELETE)
    await c.put(b"py/filter", b"1")
    await c.delete(b"py/filter")
    events = await first_events(watch, 1)
    equal(events[0].kind, "DELETE")
    await watch.cancel()


@check
async def watch_of_a_compacted_revision(c):
    first = (await c.put(b"py/compact", b"1")).header.revision
    await c.put(b"py/compact", b"2")
    last = (await c.put(b"py/compact", b"3")).header.revision
    await c.compact(last, physical=True)
    watch = await c.watch(b"py/compact", start_revision=first)
    try:
        await first_events(watch, 1)
    except aetcd.RevisionCompactedError as error:
        equal(error.compacted_revision, last)
        return
    raise AssertionError("must be cancelled")


@check
async def lease_grant_attach_revoke(c):
    lease = await c.lease(100)
    equal(lease.ttl, 100)
    await c.put(b"py/lease/b", b"v", lease=lease)
    await c.put(b"py/lease/a", b"v", lease=lease)
    equal(sorted(await lease.keys()), [b"py/lease/a", b"py/lease/b"])
    equal(await lease.granted_ttl(), 100)
    equal(90 < await lease.remaining_ttl() <= 100, True)
    equal((await lease.refresh()).TTL, 100)
    await lease.revoke()
    equal((await c.get_prefix(b"py/lease/")).count, 0)
    equal(await lease.remaining_ttl(), -1)
    equal((await lease.refresh()).TTL, 0)


@check
async def lease_expiry_deletes_the_keys(c):
    lease = await c.lease(1)
    watch = await c.watch_prefix(b"py/expire/", kind=aetcd.EventKind.DELETE)
    await c.put(b"py/expire/b", b"v", lease=lease)
    await c.put(b"py/expire/a", b"v", lease=lease)
    events = await first_events(watch, 2)
    equal([event.kv.key for event in events], [b"py/expire/a", b"py/expire/b"])
    equal(events[0].kv.mod_revision, events[1].kv.mod_revision)
    await watch.cancel()


@check
async def lease_with_a_chosen_id(c):
    await c.lease(100, lease_id=4711)
    try:
        await c.lease(100, lease_id=4711)
    except (aetcd.DuplicateLeaseError, aetcd.PreconditionFailedError):
        await c.revoke_lease(4711)
        return
    raise AssertionError("must be refused")


@check
async def a_lock(c):
    lock = c.lock(b"py/lock", ttl=30)
    equal(await lock.acquire(), True)
    equal(await c.lock(b"py/lock", ttl=30).acquire(timeout=0), False)
    await lock.release()
    equal(await lock.is_acquired(), False)


@check
async def status_members_alarms(c):
    status = await c.status()
    equal(status.version.split(".")[0], "3")
    equal((status.leader.name, status.db_size > 0), ("default", True))
    members = [member async for member in c.members()]
    equal([member.name for member in members], ["default"])
    equal([alarm async for alarm in c.list_alarms()], [])


async def run(host, port, left_out):
    failed = 0
    for function in CHECKS:
        name = function.__name__.replace("_", " ")
        if name in left_out:
            continue
        try:
            async with aetcd.Client(host=host, port=port, timeout=30) as client:
                await asyncio.wait_for(function(client), TIMEOUT_S)
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc()
    return failed


if __name__ == "__main__":
    host, port = sys.argv[1].rsplit(":", 1)
    sys.exit(1 if asyncio.run(run(host, int(port), sys.argv[2:])) else 0)
