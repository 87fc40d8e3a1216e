package publish

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/offsets"
)

// incarnation is what the content of the table's topic depends on, as configured now.
func (w *Writer) incarnation(t cdc.Table) offsets.Incarnation {
	topic, codec := w.topics[w.c.Topic(t.Name)], w.tables[t.Name].Codec
	return offsets.Incarnation{
		TopicID: topic.id, StateTopicID: w.topics[w.c.StateTopic].id, Partitions: topic.partitions,
		Format: string(w.c.Format), KeyFormat: string(w.c.KeyFormat), KeySchemaID: codec.KeyID(),
		SchemaVersion: codec.Version(), Confidentiality: w.c.Confidentiality, APIHost: w.c.APIHost, StartDate: w.startDate(t),
		Candidates: w.candidates(t), Masking: w.c.Masks.Digest(t.Name),
	}
}

// maskedSince is the LSN up to which rows were written under other rules than now: all so
// far if the rules have changed, or if nobody knows which they were.
func (w *Writer) maskedSince(was *offsets.Incarnation, now offsets.Incarnation) int64 {
	switch {
	case was == nil && now.Masking == "":
		return 0
	case was == nil, was.Masking != now.Masking:
		return w.lsn
	}
	return was.MaskedSince
}

// candidates is how the table is read, if there is a choice.
func (w *Writer) candidates(t cdc.Table) string {
	if t.Name == "candidates" || t.Parent == "candidates" {
		return w.c.Candidates
	}
	return ""
}

// startDate is the beginning of what the table holds: reference tables are whole.
func (w *Writer) startDate(t cdc.Table) string {
	if t.Method == "CDC" {
		return w.c.StartDate
	}
	return ""
}

// refuseEarly refuses what cannot go on before anything is registered or fenced: a schema
// of another format would be the registry's to refuse, which knows no way out.
func (w *Writer) refuseEarly(ctx context.Context, adm *kadm.Client) error {
	bookmarks, err := w.readBookmarks(ctx, adm, readStable)
	if err != nil {
		return err
	}
	for _, t := range w.c.Tables {
		if was := bookmarks[t.Name].Incarnation; was != nil {
			now := w.incarnation(t)
			now.KeySchemaID = was.KeySchemaID // not known yet
			if err := w.refuseBreaking(ctx, adm, was, now, w.c.Topic(t.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// refuseBreaking refuses a change after which records would not supersede those that the
// topic holds.
func (w *Writer) refuseBreaking(ctx context.Context, adm *kadm.Client, was *offsets.Incarnation, now offsets.Incarnation, topic string) error {
	if was == nil || was.TopicID != now.TopicID {
		return nil
	}
	for _, d := range was.Diff(now) {
		if !d.Breaking() {
			continue
		}
		empty, err := isEmpty(ctx, adm, topic)
		if err != nil || empty {
			return err
		}
		if d.Field == "key_schema_id" {
			return &ConfigError{fmt.Errorf("the schema registry gives the key schema of topic %s the id %s, and the topic holds records with id %s: it was wiped or replaced, and new records would not supersede the old ones; restore the registry's data, choose another KAFKA_TOPIC_PREFIX, or delete the topic and start again to have it written anew",
				topic, d.Now, d.Was)}
		}
		what := map[string]string{"format": "EVENT_FORMAT", "key_format": "EVENT_KEY", "partitions": "number of partitions"}[d.Field]
		return &ConfigError{fmt.Errorf("topic %s holds records that were written with another %s (%s; now %s) and cannot be continued: set it back, choose another KAFKA_TOPIC_PREFIX, or delete the topic and start again to have it written anew",
			topic, what, d.Was, d.Now)}
	}
	return nil
}

// incarnate compares the bookmarks' incarnations with the configuration. A table for
// which something differs is snapshotted again, all rows; one whose topic holds
// records that cannot be continued is refused. Tables that are new get a bookmark.
func (w *Writer) incarnate(ctx context.Context, adm *kadm.Client) error {
	changed := map[string]bool{}
	for _, t := range w.c.Tables {
		b, known := w.bookmarks[t.Name]
		now := w.incarnation(t)
		var diff []offsets.Difference
		if b.Incarnation != nil {
			diff = b.Incarnation.Diff(now)
		}
		if known && b.Incarnation != nil && len(diff) == 0 {
			if err := w.setSnapshot(t.Name, b); err != nil {
				return err
			}
			continue
		}
		if err := w.refuseBreaking(ctx, adm, b.Incarnation, now, w.c.Topic(t.Name)); err != nil {
			return err
		}
		if len(diff) > 0 {
			w.c.Logger.Warn("what the topic's content depends on has changed; all rows of the table are written again", "table", t.Name, "changed", fmt.Sprint(diff))
		}
		unknown, err := w.unknown(ctx, adm, t.Name, b, now)
		if err != nil {
			return err
		}
		if len(diff) > 0 || unknown {
			if b, err = w.startAgain(b); err != nil {
				return err
			}
		}
		now.MaskedSince = w.maskedSince(b.Incarnation, now)
		b.Incarnation = &now
		if err := w.setSnapshot(t.Name, b); err != nil {
			return err
		}
		w.bookmarks[t.Name] = b
		changed[t.Name] = true
	}
	if len(changed) == 0 {
		return nil
	}
	tx := transaction{w: w, now: w.c.now()}
	if err := tx.addBookmarks(w.bookmarks, changed); err != nil {
		return err
	}
	tx.commitRecord(w.lsn)
	if err := tx.commit(ctx); err != nil {
		return fmt.Errorf("write bookmarks: %w", err)
	}
	return tx.store(nil)
}

// unknown says that the state has rows of the table of which nobody knows, without a bookmark,
// whether the topic has them as they would be written now.
func (w *Writer) unknown(ctx context.Context, adm *kadm.Client, table string, b offsets.Bookmark, now offsets.Incarnation) (bool, error) {
	if b.Incarnation != nil || w.Counts()[table] == 0 {
		return false, nil
	}
	if now.Masking != "" {
		w.c.Logger.Warn("the table has rows and no bookmark; all are written again, because it is not known which fields were left out of them", "table", table)
		return true, nil
	}
	// The state may be that of another prefix, or the topic may have been deleted.
	empty, err := isEmpty(ctx, adm, w.c.Topic(table))
	if empty {
		w.c.Logger.Warn("the state has rows of the table, and its topic has none; all are written again", "table", table, "topic", w.c.Topic(table))
	}
	return empty, err
}

// startAgain returns a bookmark from which the whole table is read and written again.
func (w *Writer) startAgain(b offsets.Bookmark) (offsets.Bookmark, error) {
	snapshot, err := json.Marshal(cdc.Snapshot{Kind: cdc.SnapshotAll, Since: w.lsn})
	if err != nil {
		return b, err
	}
	sections := map[string]json.RawMessage{cdc.SectionSnapshot: snapshot}
	if paused, ok := b.Sections[cdc.SectionPaused]; ok {
		sections[cdc.SectionPaused] = paused
	}
	b.Sections = sections
	return b, nil
}

// isEmpty says that the topic holds no records.
func isEmpty(ctx context.Context, adm *kadm.Client, topic string) (bool, error) {
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return false, fmt.Errorf("find the start of topic %s: %w", topic, denied(err, rightDescribe, onTopic(topic)))
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return false, fmt.Errorf("find the end of topic %s: %w", topic, denied(err, rightDescribe, onTopic(topic)))
	}
	empty := true
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		empty = empty && start.Offset >= end.Offset
	})
	return empty, nil
}
