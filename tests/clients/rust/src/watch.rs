//! Watches.

use etcd_client::{Client, Event, EventType, WatchFilterType, WatchOptions, WatchStream};

use crate::{Check, Outcome, check, equal};

pub(crate) const CHECKS: &[Check] = &[
    check!("watch: puts and deletes with previous values", changes),
    check!("watch: history", history),
    check!("watch: filters", filters),
    check!("watch: a compacted start is cancelled", compacted),
    check!("watch: progress and cancel", progress_and_cancel),
];

/// The events of the next answers, until there are so many.
async fn events(stream: &mut WatchStream, count: usize) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    while events.len() < count {
        let answer = stream.message().await.map_err(|error| error.to_string())?;
        let answer = answer.ok_or("the stream ended")?;
        if answer.canceled() {
            return Err(format!("canceled: {answer:?}"));
        }
        events.extend_from_slice(answer.events());
    }
    Ok(events)
}

async fn created(stream: &mut WatchStream) -> Outcome {
    let answer = stream.message().await?.ok_or("the stream ended")?;
    equal((answer.created(), answer.canceled()), (true, false))
}

fn value(event: &Event) -> &[u8] {
    event.kv().map_or(b"", |kv| kv.value())
}

async fn changes(client: &mut Client) -> Outcome {
    let options = WatchOptions::new().with_prefix().with_prev_key();
    let mut stream = client.watch("rs/watch/", Some(options)).await?;
    created(&mut stream).await?;
    client.put("rs/watch/a", "1", None).await?;
    client.put("rs/watch/a", "2", None).await?;
    client.delete("rs/watch/a", None).await?;
    let events = events(&mut stream, 3).await?;
    let kinds: Vec<EventType> = events.iter().map(Event::event_type).collect();
    equal(kinds, vec![EventType::Put, EventType::Put, EventType::Delete])?;
    equal(events.iter().map(value).collect::<Vec<_>>(), vec![&b"1"[..], b"2", b""])?;
    let before: Vec<_> = events.iter().map(|event| event.prev_kv().map(|kv| kv.value())).collect();
    equal(before, vec![None, Some(&b"1"[..]), Some(b"2")])
}

async fn history(client: &mut Client) -> Outcome {
    let first = client.put("rs/history", "0", None).await?;
    let first = first.header().ok_or("no header")?.revision();
    for number in 1..1500 {
        client.put("rs/history", number.to_string(), None).await?;
    }
    let options = WatchOptions::new().with_start_revision(first);
    let mut stream = client.watch("rs/history", Some(options)).await?;
    let seen = events(&mut stream, 1500).await?;
    for (event, expected) in seen.iter().zip(first..) {
        equal(event.kv().map(|kv| kv.mod_revision()), Some(expected))?;
    }
    equal(seen.len(), 1500)
}

async fn filters(client: &mut Client) -> Outcome {
    let options = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    let mut stream = client.watch("rs/filter", Some(options)).await?;
    created(&mut stream).await?;
    client.put("rs/filter", "1", None).await?;
    client.delete("rs/filter", None).await?;
    equal(events(&mut stream, 1).await?[0].event_type(), EventType::Delete)
}

async fn compacted(client: &mut Client) -> Outcome {
    client.put("rs/compacted", "1", None).await?;
    let last = client.put("rs/compacted", "2", None).await?;
    let last = last.header().ok_or("no header")?.revision();
    client.compact(last, None).await?;
    let options = WatchOptions::new().with_start_revision(last - 1);
    let mut stream = client.watch("rs/compacted", Some(options)).await?;
    created(&mut stream).await?;
    let answer = stream.message().await?.ok_or("the stream ended")?;
    equal((answer.canceled(), answer.compact_revision()), (true, last))
}

async fn progress_and_cancel(client: &mut Client) -> Outcome {
    let mut stream = client.watch("rs/progress", Some(WatchOptions::new().with_watch_id(5))).await?;
    created(&mut stream).await?;
    let put = client.put("rs/progress", "1", None).await?;
    events(&mut stream, 1).await?;
    stream.request_progress().await?;
    let answer = stream.message().await?.ok_or("the stream ended")?;
    equal((answer.watch_id(), answer.events().len()), (-1, 0))?;
    let reached = answer.header().ok_or("no header")?.revision();
    equal(reached, put.header().ok_or("no header")?.revision())?;
    stream.cancel(5).await?;
    let answer = stream.message().await?.ok_or("the stream ended")?;
    equal((answer.watch_id(), answer.canceled()), (5, true))
}
