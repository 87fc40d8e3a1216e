// Package avro turns rows and changes into Avro: the bytes of topics' keys and values,
// and the schemas they are written with.
//
// A [Codec] belongs to one table and one topic. It encodes a Lever record to the bytes
// of the table's Value record once ([Codec.EncodeRow]); the same bytes are compared,
// kept as the state of the row, and spliced into change events ([Codec.AppendEvent])
// as before and after. Equal records have equal bytes, whatever the order of their
// members was: objects without a schema are written as JSON with sorted names, and no
// Avro map is used, because its entries have no order.
//
// The schemas of the rows are the files schemas/<table>.avsc. They are frozen: a change
// adds nullable fields and keeps the released text as schemas/<table>.<version>.avsc, so
// that bytes written by an older program can still be read ([Codec.Upgrade]). Nothing
// that Lever serves is lost: what the schema does not know, or knows as another type,
// is kept in the field _extra, as a JSON object by path.
//
// # Events
//
// In format [Debezium] an event is an envelope with before, after, source and op, as
// Debezium's connector for PostgreSQL writes it, so that consumers that know Debezium
// need nothing else. In format [Flat] it is the row with the fields __op, __deleted,
// __source_ts_ms and __lsn. Both are framed as Confluent's serializers do: a zero
// byte, the schema's id in four bytes, big-endian, then the Avro binary. A [Decoder]
// reads them.
package avro
