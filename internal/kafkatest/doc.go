// Package kafkatest is for tests: it provides brokers to test against, and reads
// topics as a stranger would.
//
// [Each] runs a suite against its back ends: the embedded broker, a real Kafka by
// address, and a real Kafka started through Docker. [Cluster.Read] reads a topic with a plain
// client and another Avro library than the program's, and [Fold] says whether what it
// found is a true history: every row's events form a chain, each delete has its
// tombstone, log sequence numbers grow. [Differences] compares the rows that result
// with what Lever serves.
package kafkatest
