// Package members finds out that a process of weir has died, and takes it out of its
// consumer groups, so that the others have its partitions within two seconds or so and
// not when Kafka's session ends after ten.
//
// # Contract
//
//   - Every member renews its record in the topic members four times a second, and says
//     there under which address it accepts connections. The topic has one partition, so its
//     order is everybody's.
//   - A member watches the few that follow it in the order of their instance ids (a ring: each is
//     watched by a few, however many there are) by asking them for an answer, any answer,
//     at their address.
//   - A watched member is dead when both witnesses say so. Either its port refuses connections and
//     it has missed 3 renewals, or it has answered none of the last 3 questions (of a second each) and has
//     missed 12. Renewals are missed by count: those of the watcher that came after the last
//     of the watched. So a watcher that stood still itself, or whose broker did, accuses nobody, and no clock
//     is compared with another.
//   - Who never answered at its address, since it came or came back, is not accused: the
//     address may be wrong, or that of somebody else. Then Kafka's session decides, as without this package.
//   - A dead member is taken out with LeaveGroup and its instance id of all groups of weir
//     that have it. Should it live after all, it joins again: this costs a rebalance and
//     no result, since what a former owner writes is known as such everywhere (package writeback).
//   - A member that stops in order says goodbye first and is not watched any longer.
//
// Judge is the pure part: it holds no clock and does no I/O.
package members
