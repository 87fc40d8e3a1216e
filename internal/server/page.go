package server

import (
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/pipeline"
	"github.com/leverstream/leverstream/internal/publish"
)

// refreshSeconds is how often a browser that shows the page asks for it again.
const refreshSeconds = 10

//go:embed page/status.html
var pageHTML string

//go:embed page/style.css
var pageCSS string

// page is what the status page shows, in words.
type page struct {
	Account, Version string
	Style            template.CSS
	Refresh          int
	Banner           banner
	Load             *load
	Facts            []fact
	Problems         []problem
	Tables           []row
	Budget           string
	Classes          []class
	Answers          string
	Now, Instance    string
}

// Classes of what is shown, after the style sheet.
const (
	good  = "good"
	info  = "info"
	warn  = "warn"
	bad   = "bad"
	plain = "plain"
)

type (
	banner  struct{ Class, Short, Text, Detail string }
	load    struct{ Percent, Text string }
	fact    struct{ Name, Value string }
	problem struct{ Class, Subject, What, Since, Error, Advice string }
	row     struct{ Name, Class, Phase, Rows, Load, Share, Freshness, FreshClass, LastEvent, Events string }
	class   struct{ Name, Share, Waiting, Total string }
)

// statusPage serves the page for people. It needs nothing but itself: no scripts, no
// fonts, no other host.
func statusPage(s Source) http.HandlerFunc {
	t := template.Must(template.New("status").Parse(pageHTML))
	sum := sha256.Sum256([]byte(pageCSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) {
		var b strings.Builder
		if err := t.Execute(&b, newPage(s)); err != nil {
			answer(w, http.StatusInternalServerError, textPlain, "the page cannot be shown: "+err.Error()+"; see /status")
			return
		}
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		answer(w, http.StatusOK, "text/html; charset=utf-8", b.String())
	}
}

func newPage(source Source) page {
	s, progress := source.Snapshot(), source.Progress()
	p := page{
		Account: s.Account, Version: s.Version, Style: template.CSS(pageCSS), Refresh: refreshSeconds, //nolint:gosec // our own
		Instance: s.Instance, Now: s.Now.UTC().Format("2006-01-02 15:04:05 UTC"),
	}
	p.Problems = problems(s)
	p.Banner = newBanner(source, s, progress, len(p.Problems))
	if progress.Running && !progress.Complete {
		p.Load = newLoad(progress)
	}
	p.Facts = facts(s)
	written := map[string]publish.TableStats{}
	for _, t := range s.Topics {
		written[t.Table] = t
	}
	for _, t := range s.Tables {
		p.Tables = append(p.Tables, newRow(t, written[t.Table], s.Now))
	}
	p.requests(s)
	return p
}

// newBanner says in one line how things are.
func newBanner(source Source, s pipeline.Status, progress pipeline.Progress, problems int) banner {
	if err := source.Live(); err != nil {
		return banner{bad, "Stuck", "Stuck: nothing makes progress", err.Error() + ". A restart goes on from the last commit."}
	}
	if err := source.Ready(); err != nil {
		return banner{warn, "Not replicating", "This process does not replicate at the moment", "It is " + err.Error() + ". The log says more."}
	}
	switch {
	case problems == 1:
		return banner{warn, "1 problem", "Replicating, but one thing needs attention", ""}
	case problems > 1:
		return banner{warn, strconv.Itoa(problems) + " problems", fmt.Sprintf("Replicating, but %d things need attention", problems), ""}
	case !progress.Complete:
		return banner{info, "First load", "Replicating: the first load runs, changes are followed meanwhile", ""}
	}
	return banner{good, "Replicating", fmt.Sprintf("Replicating %d tables", len(s.Tables)), ""}
}

// newLoad says how far the first load is. Nearly all of its requests are for the lists
// under each opportunity.
func newLoad(p pipeline.Progress) *load {
	percent := int64(0)
	if p.ListsKnown > 0 {
		percent = min(100*p.ListsRead/p.ListsKnown, 99)
	}
	l := &load{
		Percent: strconv.FormatInt(percent, 10),
		Text: fmt.Sprintf("%d %%: %d of %d tables complete, %s of %s lists under opportunities read",
			percent, p.TablesComplete, p.Tables, count(p.ListsRead), count(p.ListsKnown)),
	}
	if !p.ParentsComplete {
		l.Text += " (more are being found)"
	}
	return l
}

func facts(s pipeline.Status) []fact {
	f := []fact{
		{"Running for", age(s.Now.Sub(s.Started))},
		{"Last commit", ago(s.Now, s.Totals.LastCommit)},
		{"Last event", ago(s.Now, s.Totals.LastEvent)},
		{"Events since start", count(s.Totals.Events)},
		{"Dead letters", count(s.Totals.Letters)},
		{"LSN", strconv.FormatInt(s.Totals.LSN, 10)},
		{"State on disk", size(s.StateBytes)},
	}
	if s.SweepSeconds > 0 {
		f = append(f, fact{"Sweep interval", age(time.Duration(s.SweepSeconds * float64(time.Second)))})
	}
	if s.Owner.Owner {
		f = append(f, fact{"Owner epoch", strconv.Itoa(int(s.Owner.Epoch))})
	}
	return f
}

// problems are what an operator should look at, tables in the order of the catalogue.
// Tables with the same trouble are named together.
func problems(s pipeline.Status) (out []problem) {
	if silent := s.Now.Sub(s.Requests.LastGood); !s.Requests.LastGood.IsZero() && silent > time.Minute && s.Now.Sub(s.Requests.LastSent) < time.Minute {
		out = append(out, problem{bad, "Lever", "no good answer", age(silent), "Requests are sent, and none is answered with a page.",
			"Nothing, if Lever is away: everything goes on when it is back. Otherwise look at LEVER_API_URL, the network and a proxy between."})
	}
	if s.Requests.Paused {
		out = append(out, problem{warn, "Requests", "rate limited", "", "Lever answers 429 Too Many Requests; all requests wait, then go on more slowly.",
			"Nothing, unless it comes again and again: then another program uses the same key, or LEVER_RATE is above what Lever allows."})
	}
	for _, t := range s.Tables {
		p := problem{Class: phaseClass(t.Phase), Subject: t.Table, What: string(t.Phase), Error: t.Error, Advice: t.Advice}
		if !t.Since.IsZero() {
			p.Since = age(s.Now.Sub(t.Since))
		}
		switch {
		case p.Class == warn || p.Class == bad:
		case t.Late():
			p.Class, p.What = warn, "late"
			p.Error = fmt.Sprintf("What changed in the last %s may not be in Kafka yet; %s is usual.", age(seconds(t.Staleness)), age(seconds(t.Bound)))
		case t.Aside > 0:
			p.Class, p.What = warn, fmt.Sprintf("%d parents set aside", t.Aside)
		default:
			continue
		}
		if t.Held > 0 {
			p.What = fmt.Sprintf("%s, %s rows kept", p.What, count(int64(t.Held)))
		}
		same := slices.IndexFunc(out, func(o problem) bool {
			return o.Class == p.Class && o.What == p.What && o.Error == p.Error && o.Advice == p.Advice
		})
		if same >= 0 {
			out[same].Subject += ", " + p.Subject
			continue
		}
		out = append(out, p)
	}
	return out
}

func phaseClass(p extractor.Phase) string {
	switch p {
	case extractor.PhaseStreaming:
		return good
	case extractor.PhaseSnapshot:
		return info
	case extractor.PhaseDegraded, extractor.PhaseHolding:
		return warn
	case extractor.PhaseForbidden, extractor.PhaseUnauthorized:
		return bad
	}
	return plain // waiting, and paused on purpose
}

func newRow(t extractor.TableStatus, w publish.TableStats, now time.Time) row {
	r := row{
		Name: t.Table, Class: phaseClass(t.Phase), Phase: string(t.Phase), Rows: count(t.Known),
		Freshness: "not yet complete", LastEvent: ago(now, w.LastEvent),
	}
	if t.Load != nil {
		r.Load, r.Share = loadText(t.Load)
		r.Freshness = ""
	}
	if !t.AsOf.IsZero() {
		r.Freshness = age(seconds(t.Staleness)) + " (up to " + age(seconds(t.Bound)) + ")"
	}
	if t.Late() {
		r.FreshClass = "tag " + warn
	}
	var events []string
	for _, op := range []string{"r", "c", "u", "d"} {
		if n := w.Events[op]; n > 0 {
			events = append(events, op+" "+count(n))
		}
	}
	r.Events = strings.Join(events, ", ")
	return r
}

// loadText says how far a snapshot is, and how many percent if that is known.
func loadText(l *extractor.Load) (text, percent string) {
	switch {
	case l.ListsKnown > 0:
		text = fmt.Sprintf("%s of %s lists read", count(l.Lists), count(l.ListsKnown))
		if l.Share == nil {
			text += ", more are being found"
		}
	case l.Expected > 0:
		text = fmt.Sprintf("%s of about %s rows read", count(l.Rows), count(l.Expected))
	default:
		text = count(l.Rows) + " rows so far"
	}
	if l.Kind != "first" {
		text = "read again: " + text
	}
	if l.Share != nil {
		percent = strconv.FormatFloat(min(100**l.Share, 99), 'f', 0, 64)
	}
	return text, percent
}

// requests fills in what is known of requests to Lever.
func (p *page) requests(s pipeline.Status) {
	r := s.Requests
	var used int64
	for c := range cdc.Classes {
		name := c.String()
		used += r.LastMinute[name]
		p.Classes = append(p.Classes, class{
			Name: name, Share: strconv.FormatFloat(share(r.LastMinute[name], r.RateLimit), 'f', 0, 64),
			Waiting: count(int64(r.Waiting[name])), Total: count(r.Requests[name]),
		})
	}
	p.Budget = fmt.Sprintf("%.0f %% of %g requests a second used in the last minute; %d in flight; a good answer %s.",
		share(used, r.RateLimit), r.RateLimit, r.InFlight, ago(s.Now, r.LastGood))
	if r.Rate < r.RateLimit {
		p.Budget += fmt.Sprintf(" After a 429 only %.1f a second are sent.", r.Rate)
	}
	var outcomes []string
	for _, o := range slices.Sorted(maps.Keys(r.Outcomes)) {
		outcomes = append(outcomes, o+" "+count(r.Outcomes[o]))
	}
	p.Answers = fmt.Sprintf("Answers since start: %s. 429: %s. Asked again: %s.", strings.Join(outcomes, ", "), count(r.RateLimited), count(r.Retries))
}

// share is the part of the rate's budget of one minute, in percent.
func share(requests int64, rate float64) float64 {
	if rate <= 0 {
		return 0
	}
	return min(100*float64(requests)/(60*rate), 100)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// ago says how long before now something was.
func ago(now, at time.Time) string {
	if at.IsZero() {
		return "none yet"
	}
	return age(now.Sub(at)) + " ago"
}

// age is a duration in its largest one or two units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return "under 1 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// count is a number with its thousands apart.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size is a number of bytes in binary units.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
}
