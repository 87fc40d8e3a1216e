package embedded

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// registry is a Confluent-compatible schema registry for Avro. Its data is small,
// so every change writes all of it, before the change is answered.
type registry struct {
	path string // empty: memory only

	mu   sync.Mutex
	data registryData
}

// registryData is what the registry keeps. It is replaced as a whole.
type registryData struct {
	// Format is the version of this file's format.
	Format int `json:"format"`
	// NextID is one more than the highest id ever given.
	NextID int `json:"nextId"`
	// Schemas are all schemas by id, including those whose subjects were deleted:
	// records with their ids may still exist.
	Schemas map[int]string `json:"schemas"`
	// Subjects are the versions of each subject, ascending.
	Subjects map[string][]version `json:"subjects"`
	// Levels are the compatibility levels by subject; the empty subject is the
	// default of all others.
	Levels map[string]level `json:"levels"`
}

// registryFormat is the format this program reads and writes.
const registryFormat = 1

// version is one version of a subject.
type version struct {
	Version int  `json:"version"`
	ID      int  `json:"id"`
	Deleted bool `json:"deleted,omitempty"`
}

func openRegistry(dir string) (*registry, error) {
	r := &registry{data: registryData{Format: registryFormat, NextID: 1}}
	if dir != "" {
		r.path = registryPath(dir)
		if _, err := readJSON(r.path, &r.data); err != nil {
			return nil, fmt.Errorf("read schema registry: %w", err)
		}
		if r.data.Format != registryFormat {
			return nil, fmt.Errorf("read schema registry: %s has format %d, this program knows %d; use the program that wrote it", r.path, r.data.Format, registryFormat)
		}
	}
	r.data = r.data.clone()
	return r, nil
}

// clone returns a copy that can be changed; maps are never nil in it.
func (d registryData) clone() registryData {
	c := d
	c.Schemas = map[int]string{}
	maps.Copy(c.Schemas, d.Schemas)
	c.Levels = map[string]level{}
	maps.Copy(c.Levels, d.Levels)
	c.Subjects = map[string][]version{}
	for s, vs := range d.Subjects {
		c.Subjects[s] = slices.Clone(vs)
	}
	return c
}

// change applies f to a copy of the data, writes the copy and takes it over. Nothing
// changes if f or the write fails.
func (r *registry) change(f func(d *registryData) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.data.clone()
	if err := f(&d); err != nil {
		return err
	}
	if r.path != "" {
		if err := writeJSON(r.path, d); err != nil {
			return &apiError{Status: 500, Code: 50001, Message: "cannot write the registry's data: " + err.Error()}
		}
	}
	r.data = d
	return nil
}

// read returns the data as it is now. It must not be changed.
func (r *registry) read() registryData {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data
}

// level returns the compatibility level in force for the subject.
func (d registryData) level(subject string) level {
	for _, s := range []string{subject, ""} {
		if l, ok := d.Levels[s]; ok {
			return l
		}
	}
	return levelDefault
}

// live returns the versions that were not deleted.
func (d registryData) live(subject string) []version {
	var vs []version
	for _, v := range d.Subjects[subject] {
		if !v.Deleted {
			vs = append(vs, v)
		}
	}
	return vs
}

// find returns the newest version of the subject with this very schema.
func (d registryData) find(subject, schema string, deleted bool) (version, bool) {
	key := schemaKey(schema)
	for _, v := range slices.Backward(d.Subjects[subject]) {
		if (deleted || !v.Deleted) && schemaKey(d.Schemas[v.ID]) == key {
			return v, true
		}
	}
	return version{}, false
}

// register returns the id of the schema, which is the same in all subjects. A
// schema that the subject does not have becomes its next version, if compatible.
func (r *registry) register(subject, schema string) (id int, err error) {
	d := r.read()
	if v, ok := d.find(subject, schema, false); ok {
		return v.ID, nil // the usual case, without writing
	}
	err = r.change(func(d *registryData) error {
		if v, ok := d.find(subject, schema, false); ok {
			id = v.ID
			return nil
		}
		var earlier []string
		for _, v := range d.live(subject) {
			earlier = append(earlier, d.Schemas[v.ID])
		}
		why, err := d.level(subject).check(schema, earlier)
		if err != nil {
			return invalidSchema(err)
		}
		if why != nil {
			return &apiError{Status: 409, Code: 409, Message: fmt.Sprintf(
				"Schema being registered is incompatible with an earlier schema for subject %q, details: [%s], compatibility: %s",
				subject, strings.Join(why, "; "), d.level(subject))}
		}
		id = d.idOf(schema)
		next := 1
		if vs := d.Subjects[subject]; len(vs) > 0 {
			next = vs[len(vs)-1].Version + 1
		}
		d.Subjects[subject] = append(d.Subjects[subject], version{Version: next, ID: id})
		return nil
	})
	return id, err
}

// idOf returns the id of the schema and gives it one if it has none.
func (d *registryData) idOf(schema string) int {
	key := schemaKey(schema)
	for _, id := range slices.Sorted(maps.Keys(d.Schemas)) {
		if schemaKey(d.Schemas[id]) == key {
			return id
		}
	}
	id := d.NextID
	d.NextID++
	d.Schemas[id] = schema
	return id
}

// schemaKey is equal for texts of the same schema: spaces and the order of
// attributes do not matter, documentation and other attributes do.
func schemaKey(schema string) string {
	dec := json.NewDecoder(strings.NewReader(schema))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return schema
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // sorts the attributes
		return schema
	}
	return b.String()
}
