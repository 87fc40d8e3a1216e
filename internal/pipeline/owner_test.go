package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/failpoint"
	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/publish"
	"github.com/leverstream/leverstream/internal/sandbox"
	"github.com/leverstream/leverstream/offsets"
)

// listening calls a function for each message, and goes on when that has returned.
type listening struct {
	slog.Handler

	hears func(message string)
}

func (l listening) Handle(ctx context.Context, r slog.Record) error {
	l.hears(r.Message)
	return l.Handler.Handle(ctx, r)
}

// A successor fences the owner a moment before it writes its own owner record. An owner that
// looks at the record in between takes itself for the owner, and learns of the other one when
// it opens again: then it stops, whether it had replicated before or was still reading back.
func TestAnOwnerThatLooksTooEarlyStopsAllTheSame(t *testing.T) {
	c := kafkatest.Best(t)
	for name, moment := range map[string]string{"replicating": "owner of the account; replicating", "reading back": ""} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c, sandbox.Options{Opportunities: 10})
			p := w.pipeline(Options{TakeOver: true})
			fence := sync.OnceFunc(func() {
				cl := c.Client(t, kgo.TransactionalID("leverstream-"+w.env["KAFKA_TOPIC_PREFIX"]+"-default"))
				if _, _, err := cl.ProducerID(t.Context()); err != nil {
					t.Error(err)
				}
			})
			now := time.Now().UnixMilli()
			other := offsets.Owner{Instance: "other", Host: "elsewhere", PID: 1, Started: now, Renewed: now}
			own := sync.OnceFunc(func() {
				value, err := other.Marshal()
				if err != nil {
					t.Error(err)
				}
				r := &kgo.Record{Topic: w.env["KAFKA_TOPIC_PREFIX"] + ".bookmarks", Key: offsets.OwnerKey("default"), Value: value}
				if err := c.Client(t).ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Error(err)
				}
			})
			p.o.Logger = slog.New(listening{p.o.Logger.Handler(), func(message string) {
				switch message {
				case moment:
					fence()
				case "going back to what Kafka says, and on from there":
					own()
				}
			}})
			if moment == "" {
				failpoint.Hook(func(at failpoint.Point) {
					if at == failpoint.Owned {
						fence()
					}
				})
				defer failpoint.Hook(func(failpoint.Point) {})
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var owned *publish.OwnedError
			if err := p.Run(ctx); !errors.As(err, &owned) || owned.Owner != other {
				t.Fatalf("it ended with %v\n%s", err, w.log.String())
			}
			// A supervisor that starts it again, to take over, does not depose that one.
			by, err := os.ReadFile(filepath.Join(w.env["STATE_DIR"], w.env["KAFKA_TOPIC_PREFIX"], "default.deposed_by"))
			if err != nil || string(by) != other.Instance {
				t.Errorf("deposed by %q, %v", by, err)
			}
		})
	}
}
