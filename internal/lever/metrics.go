package lever

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/leverstream/leverstream/internal/cdc"
)

// outcomes are the values of the label outcome. All of them are there from the start, so
// that the first error is an increase.
func outcomes() []string {
	return []string{outcomeGood, "4xx", "5xx", outcomeUnusable, outcomeNetwork, outcomeCancelled}
}

// newTook returns the histogram of the time from sending a request to the last byte.
// Lever answers within a second or so; a request is given up after 60 seconds.
func newTook() prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "leverstream_lever_request_duration_seconds", Help: "Time from sending a request to Lever to the last byte of its answer.",
		Buckets: []float64{.05, .1, .2, .4, .8, 1.6, 3.2, 6.4, 15, 30, 60},
	})
}

// descs describe what a Client tells Prometheus beside the histogram.
type descs struct {
	requests, retries, limited, pauses, rate, rateLimit, tokens, inFlight, waiting *prometheus.Desc
}

func newDescs() descs {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("leverstream_lever_"+name, help, labels, nil)
	}
	return descs{
		requests:  d("requests_total", "Requests to Lever that ended, by class (who waits for them) and outcome (2xx to 5xx, unusable, network, cancelled). A retry is a request.", "class", "outcome"),
		retries:   d("retries_total", "Requests sent because one before was in vain."),
		limited:   d("rate_limited_total", "Answers of 429 Too Many Requests."),
		pauses:    d("rate_limit_pauses_total", "How often all requests waited because of a 429."),
		rate:      d("rate_requests_per_second", "Requests per second that may be sent now. It goes down after a 429 and climbs back."),
		rateLimit: d("rate_limit_requests_per_second", "Requests per second that may be sent at best (LEVER_RATE)."),
		tokens:    d("rate_limit_tokens", "Requests that may be sent at once now, up to LEVER_BURST."),
		inFlight:  d("requests_in_flight", "Requests sent and not yet answered."),
		waiting:   d("requests_waiting", "Requests that wait for their turn, by class.", "class"),
	}
}

// Describe makes the client a prometheus.Collector.
func (c *Client) Describe(ch chan<- *prometheus.Desc) {
	d := newDescs()
	for _, one := range []*prometheus.Desc{d.requests, d.retries, d.limited, d.pauses, d.rate, d.rateLimit, d.tokens, d.inFlight, d.waiting} {
		ch <- one
	}
	c.counts.took.Describe(ch)
}

// Collect makes the client a prometheus.Collector.
func (c *Client) Collect(ch chan<- prometheus.Metric) {
	d, s := newDescs(), c.Stats()
	counter := func(desc *prometheus.Desc, n int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	for class := range cdc.Classes {
		name := class.String()
		ended := s.ByClass[name]
		for _, outcome := range outcomes() {
			counter(d.requests, ended[outcome], name, outcome)
			delete(ended, outcome)
		}
		for outcome, n := range ended {
			counter(d.requests, n, name, outcome)
		}
		gauge(d.waiting, float64(s.Waiting[name]), name)
	}
	counter(d.retries, s.Retries)
	counter(d.limited, s.RateLimited)
	counter(d.pauses, s.Pauses)
	gauge(d.rate, s.Rate)
	gauge(d.rateLimit, s.RateLimit)
	gauge(d.tokens, s.Tokens)
	gauge(d.inFlight, float64(s.InFlight))
	c.counts.took.Collect(ch)
}
