// Package members detects that a process of weir has died, and takes it out of its consumer groups,
// so that the others have its partitions within some two seconds rather than when Kafka's session
// ends after ten.
//
// # Contract
//
//   - Every member renews its record in the topic members four times a second, with the address at
//     which it accepts connections. The topic has one partition, so its order is the same for
//     everybody.
//   - A member watches the few that follow it in the order of their instance ids (a ring: each is
//     watched by a few, however many there are) by asking for an answer, any answer, at their
//     address.
//   - A watched member is dead when both witnesses agree: either its port refuses connections and
//     it has missed 3 renewals, or it has not answered the last 3 questions (of a second each) and
//     has missed 12 renewals. Missed renewals are counted in the watcher's own: those that came
//     after the last of the watched. So a watcher that was suspended itself, or whose broker was,
//     accuses nobody, and clocks are never compared.
//   - A member that has never answered at its address, since it came or came back, is not accused:
//     the address may be wrong, or somebody else's. Kafka's session then decides, as it would
//     without this package.
//   - A dead member is taken out with LeaveGroup, by its instance id, of all groups of weir that
//     have it. If it lives after all, it joins again: this costs a rebalance but no result, since
//     everything that a former owner writes is recognized as such (package writeback).
//   - A member that stops in order says goodbye first, and is no longer watched.
//
// Judge is the pure part: it has no clock and does no I/O.
package members
