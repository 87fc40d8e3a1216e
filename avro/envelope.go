package avro

import "encoding/json"

// tailFields are the fields of the envelope after before and after. They are frozen:
// additions only as nullable with a default.
const tailFields = `[
{"name":"source","doc":"Where the event comes from.","type":{"type":"record","name":"Source","namespace":"io.leverstream","doc":"Where an event comes from, and its place in the order of all events of the account.","fields":[
{"name":"version","type":"string","doc":"Version of the program that made the event."},
{"name":"connector","type":"string","doc":"Always lever."},
{"name":"name","type":"string","doc":"Prefix of the topics."},
{"name":"ts_ms","type":"long","doc":"When the change happened in Lever, in milliseconds since 1970: updatedAt if it changed with this event, deletedAt for a delete that Lever reported, else the time of the read."},
{"name":"snapshot","type":["string","null"],"default":"false","doc":"true for rows of the first snapshot, incremental for every event of a later snapshot, else false."},
{"name":"db","type":"string","doc":"Name of the Lever account."},
{"name":"sequence","type":["null","string"],"default":null,"doc":"Always null; order by lsn."},
{"name":"ts_us","type":["null","long"],"default":null,"doc":"The time of ts_ms in microseconds."},
{"name":"ts_ns","type":["null","long"],"default":null,"doc":"Always null: nanoseconds exceed 2^53."},
{"name":"schema","type":"string","doc":"Always lever."},
{"name":"table","type":"string","doc":"Name of the table."},
{"name":"txId","type":["null","long"],"default":null,"doc":"Always null."},
{"name":"lsn","type":["null","long"],"default":null,"doc":"Log sequence number: increases strictly with every event of the account, across tables and restarts."},
{"name":"xmin","type":["null","long"],"default":null,"doc":"Always null."}
]}},
{"name":"transaction","doc":"Always null.","default":null,"type":["null",{"type":"record","name":"block","namespace":"event","doc":"Place of an event in a source transaction; Lever has none.","fields":[
{"name":"id","type":"string","doc":"Id of the transaction."},
{"name":"total_order","type":"long","doc":"Place among all events of the transaction."},
{"name":"data_collection_order","type":"long","doc":"Place among the events of the table in the transaction."}
]}]},
{"name":"op","type":"string","doc":"r: row of a snapshot, c: created, u: updated, d: deleted."},
{"name":"ts_ms","type":["null","long"],"default":null,"doc":"When the event was made, in milliseconds since 1970."},
{"name":"ts_us","type":["null","long"],"default":null,"doc":"When the event was made, in microseconds since 1970."},
{"name":"ts_ns","type":["null","long"],"default":null,"doc":"Always null: nanoseconds exceed 2^53."}
]`

// flatFields are the fields that a flat event has after those of the row.
const flatFields = `[
{"name":"__op","type":"string","doc":"r: row of a snapshot, c: created, u: updated, d: deleted (the row is its last version)."},
{"name":"__deleted","type":"boolean","doc":"True if the row is gone."},
{"name":"__source_ts_ms","type":"long","doc":"When the change happened in Lever, in milliseconds since 1970: updatedAt if it changed with this event, deletedAt for a delete that Lever reported, else the time of the read."},
{"name":"__lsn","type":"long","doc":"Log sequence number: increases strictly with every event of the account, across tables and restarts."}
]`

// fieldTexts splits a constant list of fields.
func fieldTexts(list string) ([]json.RawMessage, error) {
	r, err := parseRecordText([]byte(`{"type":"record","name":"Tail","fields":` + list + `}`))
	return r.Fields, err
}

// keySchema is the schema of a topic's keys.
func keySchema(ns, table, key string) string {
	return recordText{
		Type: "record", Name: "Key", Namespace: ns, Doc: "Primary key of table " + table + ".",
		Fields: []json.RawMessage{json.RawMessage(`{"name":"` + key + `","type":"string","doc":"Primary key."}`)},
	}.String()
}

// envelopeSchema is the schema of Debezium's envelope around a row.
func envelopeSchema(ns, table string, row recordText, tail []json.RawMessage) string {
	nullable := func(name, doc, typ string) json.RawMessage {
		return json.RawMessage(`{"name":"` + name + `","type":["null",` + typ + `],"default":null,"doc":"` + doc + `"}`)
	}
	return recordText{
		Type: "record", Name: "Envelope", Namespace: ns, Doc: "A change of a row of table " + table + ".",
		Fields: append([]json.RawMessage{
			nullable("before", "The row as last emitted; null for r and c.", row.String()),
			nullable("after", "The row now; null for d.", `"`+ns+`.Value"`),
		}, tail...),
	}.String()
}

// flatSchema is the schema of a row with what a flat event adds.
func flatSchema(row recordText, tail []json.RawMessage) string {
	row.Fields = append(row.Fields[:len(row.Fields):len(row.Fields)], tail...)
	return row.String()
}
