package cdc

// Table describes one table of the catalogue: what it is called, what identifies
// a row, and whose child it is. A Table is data; how it is read is the business of
// package extractor, what its rows look like that of its .avsc file in package avro.
type Table struct {
	// Name is the table's name and the last part of its topic's, for example
	// "opportunity_offers".
	Name string
	// Key is the name of the primary key field: "id", or "text" for sources.
	Key string
	// Parent is the name of the parent table, or empty. A child's rows are
	// committed after their parent's.
	Parent string
	// ParentFields are the fields of a child's row that carry its parent's id.
	// Where Lever's record lacks them (only applications have them), they are added.
	ParentFields []string
	// Method says how changes are found, for people: "CDC" or "full table".
	Method string
	// ReplicationKey is the field that Lever can filter by, or empty.
	ReplicationKey string
	// Endpoint is where the rows come from, for people.
	Endpoint string
}

// Row is one Lever record of one table.
type Row struct {
	// Table is the name of the row's table.
	Table string
	// Key is the value of the primary key. Rows without one cannot become
	// events; they go to the dead letter topic.
	Key string
	// Parent is the primary key of the parent row, empty for tables without one.
	Parent string
	// Fields is the record as Lever served it, decoded with json.Number for
	// numbers. It may be shared by rows of several tables: never modify it.
	Fields map[string]any
}

// Ref names a row.
type Ref struct {
	Table, Key string
}

// List names a list that was read to its end: all rows of Table under Parent, or
// the whole table if Parent is empty.
type List struct {
	Table, Parent string
}
