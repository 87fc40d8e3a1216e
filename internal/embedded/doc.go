// Package embedded runs a Kafka-protocol broker and a Confluent-compatible schema
// registry inside the process, on 127.0.0.1, for demonstrations, development and
// small installations that need nothing else. [Start] starts a [Cluster]; any Kafka
// client can read its topics while it runs.
//
// The broker is franz-go's kfake, the registry is this package's own. Both keep
// their data in one directory, which belongs to one process at a time:
//
//	kafka/          the broker: topics, segments, producers, groups
//	registry.json   subjects, versions, ids and schemas
//	ports.json      the ports, taken again by the next start if they are free
//	lock            held by the process that uses the directory
//	clean           there only after Close
//
// # What is guaranteed
//
// Whatever kills the process, also SIGKILL at any moment: what a transaction wrote
// is visible to read_committed readers in all partitions or in none, and what was
// acknowledged is still there. Topics keep their ids, the cluster its id, records
// their offsets, groups their offsets, subjects their versions and schemas their
// ids. The broker alone does not promise that; see repair.
//
// A power failure or a crash of the operating system is another matter: the
// broker's data is not flushed to the disk on every write (that would be a flush
// for each partition of a transaction), so the last writes may be lost. A start that
// notices damage of that kind refuses.
//
// # Where it differs from Kafka
//
//   - One broker, no replication, no passwords, loopback only.
//   - Nothing is ever compacted, deleted or expired, whatever the topics'
//     configuration says. Topics only grow.
//   - A fenced producer learns it as INVALID_TXN_STATE, INVALID_PRODUCER_EPOCH or
//     PRODUCER_FENCED at other points than with Kafka.
//   - Offsets that a consumer commits within a transaction may be lost if the
//     process is killed while that transaction is being committed.
package embedded
