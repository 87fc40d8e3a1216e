package kafkatest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a committed record of a topic.
type Record struct {
	Partition int32
	Offset    int64
	Headers   map[string]string
	RawKey    []byte
	RawValue  []byte
	// Key is the primary key. Value is the event, nil for a tombstone.
	Key   string
	Value map[string]any
}

// Raw reads all committed records of a topic up to its end, as it is now.
func (c Cluster) Raw(t testing.TB, topic string) []Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ends := c.ends(ctx, t, topic)
	todo := map[int32]int64{}
	from := map[int32]kgo.Offset{}
	ends.Each(func(e kadm.ListedOffset) {
		if e.Offset > 0 {
			todo[e.Partition] = e.Offset
			from[e.Partition] = kgo.NewOffset().AtStart()
		}
	})
	if len(todo) == 0 {
		return nil
	}
	cl := c.client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(10*time.Millisecond))
	defer cl.Close() // a consumer that is left open asks for more a hundred times a second
	var out []Record
	for len(todo) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s: %v (partitions left: %v)", topic, err, todo)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= todo[r.Partition] {
				delete(todo, r.Partition)
			}
			if r.Attrs.IsControl() {
				return
			}
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			out = append(out, Record{Partition: r.Partition, Offset: r.Offset, Headers: headers, RawKey: r.Key, RawValue: r.Value})
		})
	}
	return out
}

// Read reads a table's topic and decodes keys and values.
func (c Cluster) Read(t testing.TB, topic string) []Record {
	t.Helper()
	return c.read(t, topic, false)
}

// ReadPlain is Read for a topic whose keys are plain text.
func (c Cluster) ReadPlain(t testing.TB, topic string) []Record {
	t.Helper()
	return c.read(t, topic, true)
}

func (c Cluster) read(t testing.TB, topic string, plain bool) []Record {
	t.Helper()
	d := decoder{c: c, schemas: map[uint32]*avro.Schema{}}
	records := c.Raw(t, topic)
	for i := range records {
		r := &records[i]
		if r.Key = string(r.RawKey); !plain {
			key, err := d.decode(t.Context(), r.RawKey)
			if err != nil {
				t.Fatalf("%s partition %d offset %d: key: %v", topic, r.Partition, r.Offset, err)
			}
			for _, v := range key {
				r.Key, _ = v.(string)
			}
		}
		if r.RawValue == nil {
			continue
		}
		var err error
		if r.Value, err = d.decode(t.Context(), r.RawValue); err != nil {
			t.Fatalf("%s partition %d offset %d: value: %v", topic, r.Partition, r.Offset, err)
		}
	}
	return records
}

type decoder struct {
	c       Cluster
	schemas map[uint32]*avro.Schema
}

func (d *decoder) decode(ctx context.Context, framed []byte) (map[string]any, error) {
	if len(framed) < 5 || framed[0] != 0 {
		return nil, errors.New("not framed")
	}
	id := binary.BigEndian.Uint32(framed[1:5])
	s := d.schemas[id]
	if s == nil {
		text, err := d.c.schemaText(ctx, id)
		if err != nil {
			return nil, err
		}
		if s, err = avro.Parse(text); err != nil {
			return nil, err
		}
		d.schemas[id] = s
	}
	var v any
	rest, err := s.Decode(framed[5:], &v)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok || len(rest) > 0 {
		return nil, fmt.Errorf("schema %d: not one record", id)
	}
	return m, nil
}

func decodeSchema(resp *http.Response) (string, error) {
	var answer struct {
		Schema string `json:"schema"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("registry: %s", resp.Status)
	}
	err := json.NewDecoder(resp.Body).Decode(&answer)
	return answer.Schema, err
}

// ends returns the ends of the topic's partitions, as soon as all have a leader.
func (c Cluster) ends(ctx context.Context, t testing.TB, topic string) kadm.ListedOffsets {
	t.Helper()
	cl := c.client(t)
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for {
		ends, err := adm.ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		switch {
		case err == nil:
			return ends
		case !kerr.IsRetriable(err) && !errors.Is(err, kerr.LeaderNotAvailable) || ctx.Err() != nil:
			t.Fatalf("find the end of %s: %v", topic, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
