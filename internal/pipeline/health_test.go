package pipeline

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/kafkatest"
	"github.com/leverstream/leverstream/internal/sandbox"
	"github.com/leverstream/leverstream/offsets"
)

// silence has the pipeline believe that nothing has moved for an hour.
func (p *Pipeline) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beat = time.Now().Add(-time.Hour)
}

func TestAProcessInWhichNothingMovesIsNotLive(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 1})
	p := w.pipeline(Options{})
	if err := p.Live(); err != nil {
		t.Errorf("just started: %v", err)
	}
	p.silence()
	if err := p.Live(); err == nil || !strings.Contains(err.Error(), "no progress for 1h0m0s while starting") {
		t.Errorf("got %v", err)
	}
}

// A Lever that takes requests and never answers is away, which a restart cannot help.
func TestALeverThatHangsLeavesTheProcessLive(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 1})
	asked := make(chan struct{}, 100)
	w.between(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-asked
	p.silence() // the supervisor waits for the answer
	if err := p.Live(); err != nil {
		t.Error(err)
	}
	if p.Ready() == nil {
		t.Error("it is ready")
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped: %v", err)
	}
}

// A standby waits for hours, and stays live.
func TestAStandbyIsLiveAndSaysWhatItWaitsFor(t *testing.T) {
	w := newWorld(t, kafkatest.Embedded(t), sandbox.Options{Opportunities: 1})
	w.once() // makes the topics
	owner, err := offsets.Owner{Instance: "another", Host: "elsewhere", PID: 7, Renewed: time.Now().UnixMilli()}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	record := &kgo.Record{Topic: w.env["KAFKA_TOPIC_PREFIX"] + ".bookmarks", Key: offsets.OwnerKey("default"), Value: owner}
	if err := w.c.Client(t).ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := w.pipeline(Options{})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	says := func() bool {
		err := p.Ready()
		return err != nil && strings.Contains(err.Error(), "another producer owns the account (host elsewhere, process 7)")
	}
	w.wait("it says what it waits for", says)
	p.silence()
	w.wait("it looks again, and is live", func() bool { return p.Live() == nil })
	if !says() {
		t.Errorf("ready: %v", p.Ready())
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped: %v", err)
	}
}
