package pipeline

import (
	"math"
	"testing"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/sandbox"
)

// A plan is compared with what then happens.
func TestAPlanSaysWhatTheFirstLoadCosts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int
		since time.Duration // the start date, before now
		asked int           // requests at most
	}{
		{"small", 60, 0, 80}, {"large", 3_000, 0, 130}, {"start date", 3_000, 400 * 24 * time.Hour, 130},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				v := newVirtual(t, sandbox.Options{Opportunities: tt.n, Seed: 5}, 0)
				if tt.since > 0 {
					v.config.StartDate = time.Now().Add(-tt.since)
				}
				plan, err := extractor.PlanFor(t.Context(), v.config)
				if err != nil {
					t.Fatal(err)
				}
				if asked := total(v.lever.Requests()); asked != int64(plan.Asked) || plan.Asked > tt.asked {
					t.Errorf("%d requests, plan says %d, want at most %d", asked, plan.Asked, tt.asked)
				}
				v.lever.ResetRequests()
				v.once()
				actual := total(v.lever.Requests())
				rows := v.desk.Count("opportunities")
				t.Logf("planned %d requests with %d, sent %d; %d opportunities ± %d, are %d", plan.Requests, plan.Asked, actual, plan.Tables[6].Rows, plan.Tables[6].Error, rows)
				if off := math.Abs(float64(plan.Requests-actual)) / float64(actual); off > 0.25 {
					t.Errorf("planned %d requests, sent %d", plan.Requests, actual)
				}
				for _, p := range plan.Tables {
					is := v.desk.Count(p.Table)
					// Two standard errors are stated; four must do.
					if allowed := 2*float64(p.Error) + 0.02*float64(is) + 3; math.Abs(float64(p.Rows-is)) > allowed {
						t.Errorf("%s: %d ± %d rows planned, %d are there", p.Table, p.Rows, p.Error, is)
					}
					if p.Error == 0 && !p.AtLeast && tt.n > 100 && tt.since == 0 && p.Table == "users" && p.Rows != is {
						t.Errorf("%s was counted: %d rows, %d are there", p.Table, p.Rows, is)
					}
				}
				if plan.Idle.PollRequests != 6 || plan.ChangeRequests != 3 {
					t.Errorf("%+v", plan.Idle)
				}
			})
		})
	}
}
