package publish

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/offsets"
)

// The data topics take more than the state topic: KAFKA_TOPIC_CONFIG=max.message.bytes=20971520.
func TestARowThatItsTopicTakesFitsTheStateTopic(t *testing.T) {
	large := stage("s1", noise(9<<20))
	for name, test := range map[string]struct {
		state   string // max.message.bytes of the state topic, if it exists
		letters int
	}{
		"created by the program": {"", 0},
		"made by hand":           {"1000000", 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t, kafkatest.Embedded(t))
			a.TopicConfig = map[string]string{"max.message.bytes": "20971520"}
			if test.state != "" {
				compact := "compact"
				config := map[string]*string{"cleanup.policy": &compact, "max.message.bytes": &test.state}
				if _, err := kadm.NewClient(a.c.Client(t)).CreateTopic(t.Context(), 1, 1, config, a.StateTopic); err != nil {
					t.Fatal(err)
				}
			}
			w := a.open()
			w.submit(nil, large, stage("s2", "B"))
			w.stop()
			if rows := len(a.history("stages").Rows); rows != 2-test.letters {
				t.Errorf("%d rows in the topic", rows)
			}
			if letters := len(a.c.Raw(t, a.DeadLetterTopic())); letters != test.letters {
				t.Errorf("%d dead letters", letters)
			}
		})
	}
}

// noise is a text that cannot be compressed much.
func noise(n int) string {
	text := make([]byte, n)
	random := rand.New(rand.NewPCG(1, 1))
	for i := range text {
		text[i] = byte('!' + random.IntN(90))
	}
	return string(text)
}

// KAFKA_STATE_TOPIC is shared with another account (or the topic holds a strange record):
// configuration, which no retry mends.
func TestAStateTopicOfAnotherAccountIsRefused(t *testing.T) {
	c := kafkatest.Embedded(t)
	a := newAccount(t, c)
	w := a.open()
	w.submit(nil, stage("s1", "A"))
	w.stop()
	b := newAccount(t, c)
	b.Account, b.StateTopic = "other", a.StateTopic
	_, err := Open(t.Context(), b.Config)
	var conf *ConfigError
	if err == nil || !errors.As(err, &conf) {
		t.Errorf("open: %v; want a *ConfigError", err)
	}
}

// A topic was deleted and its bookmark reset with the command, to have it written anew.
func TestADeletedTopicWhoseBookmarkWasResetIsWrittenAnew(t *testing.T) {
	a := newAccount(t, kafkatest.Embedded(t))
	w := a.open()
	w.submit(section("stages", "snapshot", `{"complete":true}`), stage("s1", "A"))
	w.stop()
	adm := kadm.NewClient(a.c.Client(t))
	if resp, err := adm.DeleteTopic(t.Context(), a.Topic("stages")); err != nil || resp.Err != nil {
		t.Fatal(resp.Err, err)
	}
	cfg := a.Config
	cfg.Instance = "editor"
	if err := EditBookmarks(t.Context(), cfg, func(map[string]Entry) (map[string]*offsets.Bookmark, error) {
		return map[string]*offsets.Bookmark{"stages": nil}, nil
	}); err != nil {
		t.Fatal(err)
	}
	w = a.open()
	w.submit(nil, stage("s1", "A"))
	w.stop()
	if h := a.history("stages"); len(h.Rows) != 1 {
		t.Errorf("rows %v: Lever serves s1, and the topic does not have it", h.Rows)
	}
}

// Another prefix with the state topic of the first: the way out that many errors name.
func TestAnotherPrefixOnTheSameStateTopicIsWritten(t *testing.T) {
	c := kafkatest.Embedded(t)
	a := newAccount(t, c)
	w := a.open()
	w.submit(section("stages", "snapshot", `{"complete":true}`), stage("s1", "A"))
	w.stop()
	b := newAccount(t, c)
	b.StateTopic = a.StateTopic
	w = b.open()
	w.submit(nil, stage("s1", "A"))
	w.stop()
	if h := b.history("stages"); len(h.Rows) != 1 {
		t.Errorf("rows %v: Lever serves s1, and the topic does not have it", h.Rows)
	}
}

// Two clusters, one STATE_DIR, prefix and account: the second producer works on a temporary
// copy. A third one must still wait as a standby for it when the first has stopped.
func TestATemporaryCopyIsNoProofOfDeath(t *testing.T) {
	x := newAccount(t, kafkatest.Embedded(t)) // first cluster
	wx := x.open()
	a := newAccount(t, kafkatest.Embedded(t)) // second cluster
	a.Prefix, a.BookmarksTopic, a.StateTopic, a.StateDir = x.Prefix, x.BookmarksTopic, x.StateTopic, x.StateDir
	wa := a.open() // after 15 s, with a temporary copy
	if wa.temporary == "" {
		t.Fatal("no temporary copy")
	}
	wx.stop()
	b := a.Config
	b.Instance = "standby"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	wb, err := Open(ctx, b)
	if err == nil {
		t.Errorf("the account was taken from a live owner without --take-over")
		_ = wb.Close()
		<-wa.done
		_ = wa.Close()
		return
	}
	wa.stop()
}
