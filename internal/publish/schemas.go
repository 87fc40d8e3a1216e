package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/change"
)

// Registry gives schemas their ids.
type Registry interface {
	// Register returns the id of the schema under the subject.
	Register(ctx context.Context, subject, schema string) (id int, err error)
	// Losses is the number of connections to the registry that have ended. A registry
	// that was restarted may have lost its schemas.
	Losses() int64
}

const (
	// registryTimeout bounds how long a commit waits for a registry that takes its time
	// (one that came back empty is told every schema again), registryHangs is what a
	// registry takes that does not answer, and registryPause is the time to the next try
	// after that.
	registryTimeout = 30 * time.Second
	registryHangs   = 3 * time.Second
	registryPause   = 30 * time.Second
	// believedFor is how long schemas are believed to be registered while the
	// connection stays: what is behind a proxy can be lost unseen.
	believedFor = 5 * time.Minute
)

// schemas is what the writer knows of the registry.
type schemas struct {
	// losses and at tell when the registry last knew all schemas.
	losses int64
	at     time.Time
	// away says that it did not answer since; again is when it is asked next.
	away  bool
	again time.Time
}

// openTables makes the codecs.
func (w *Writer) openTables() error {
	w.tables = map[string]*change.Table{}
	for _, t := range w.c.Tables {
		topic := w.c.Topic(t.Name)
		codec, err := avro.NewCodec(t, topic, w.c.Format, w.c.KeyFormat)
		if err != nil {
			return err
		}
		table := &change.Table{Table: t, Codec: codec, MaxRecord: min(w.topics[topic].maxBytes, w.topics[w.c.StateTopic].maxBytes), Mask: w.c.Masks.Table(t.Name)}
		if table.Mask != nil && table.Mask.DropsExtra() {
			codec.DropExtra()
		}
		w.tables[t.Name] = table
	}
	for _, t := range w.c.Tables {
		if t.Parent != "" {
			parent := w.tables[t.Parent]
			parent.Children = append(parent.Children, t.Name)
		}
	}
	return nil
}

// registerAll registers the schemas and takes their ids.
func (w *Writer) registerAll(ctx context.Context) error {
	return w.register(ctx, func(t *change.Table, key, value int) error {
		t.Codec.SetIDs(key, value)
		return nil
	})
}

// register registers the schemas that are not there, and hands the ids of each table's
// to use. It keeps to one order, so that an empty registry gives the same ids again.
func (w *Writer) register(ctx context.Context, use func(t *change.Table, key, value int) error) error {
	known := schemas{losses: w.c.Registry.Losses(), at: time.Now()}
	for _, table := range w.c.Tables {
		t, topic := w.tables[table.Name], w.c.Topic(table.Name)
		var key int
		if schema := t.Codec.KeySchema(); schema != "" {
			var err error
			if key, err = w.c.Registry.Register(ctx, topic+"-key", schema); err != nil {
				return refused(err)
			}
		}
		value, err := w.c.Registry.Register(ctx, topic+"-value", t.Codec.ValueSchema())
		if err != nil {
			return refused(err)
		}
		if err := use(t, key, value); err != nil {
			return err
		}
	}
	w.schemas = known
	return nil
}

// errSchemaIDs says that events cannot go on with the schema ids they had.
var errSchemaIDs = errors.New("the schema registry has lost the schemas, and gives them other ids now")

// verifySchemas makes sure, before anything is written, that a registry which may have
// been restarted still knows their schemas by the same ids: it may have come back
// empty. While it is away, the ids that are known go on to be used.
func (w *Writer) verifySchemas(ctx context.Context) error {
	now := time.Now()
	if w.schemas.losses == w.c.Registry.Losses() && now.Sub(w.schemas.at) < believedFor || now.Before(w.schemas.again) {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	away := w.schemas.away
	err := w.register(asking, func(t *change.Table, key, value int) error {
		if key == t.Codec.KeyID() && value == t.Codec.ValueID() {
			return nil
		}
		return fmt.Errorf("topic %s: %w (key %d, before %d; value %d, before %d)", w.c.Topic(t.Name), errSchemaIDs, key, t.Codec.KeyID(), value, t.Codec.ValueID())
	})
	var conflict *ConfigError
	switch {
	case errors.As(err, &conflict), errors.Is(err, errSchemaIDs):
		return err
	case err != nil:
		if !away {
			w.c.Logger.Warn("the schema registry is away; going on with the schema ids that are known", "error", err)
		}
		w.schemas.away = true
		if time.Since(now) > registryHangs {
			w.schemas.again = time.Now().Add(registryPause)
		}
	case away:
		w.c.Logger.Info("the schema registry is back, and knows the schemas")
	}
	return nil
}
