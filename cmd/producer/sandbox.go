package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leverstream/leverstream/internal/sandbox"
)

func newSandbox() *cobra.Command {
	var addr string
	var fail map[string]int
	o := sandbox.Options{}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Serve a simulated Lever API to develop against",
		Long: `sandbox serves a simulated Lever account, with invented data generated from a seed,
that keeps changing. Any API key is accepted unless --token is given.

Faults can be asked for: --error-rate answers a share of the requests badly at random
(500, 503, 429, a reset connection, a body that ends early, HTML with status 200),
--fail answers an endpoint with a status only.`,
		Example: `  producer sandbox --opportunities 2000 --changes-per-minute 60
  producer sandbox --error-rate 0.05 --fail /opportunities/:id/referrals=403
  LEVER_API_URL=http://127.0.0.1:8088/v1 LEVER_TOKEN=any producer run --once`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			status, err := statuses(fail)
			if err != nil {
				return err
			}
			if o.Faults.Status = status; !(o.Faults.ErrorRate >= 0 && o.Faults.ErrorRate <= 1) { // so that NaN fails, too
				return usageError{errors.New("--error-rate is a share from 0 to 1")}
			}
			if err := notNegative(o); err != nil {
				return err
			}
			lc := net.ListenConfig{}
			l, err := lc.Listen(cmd.Context(), "tcp", addr)
			if err != nil {
				return fmt.Errorf("--addr: %w", err)
			}
			lever := sandbox.New(o)
			fmt.Fprintf(cmd.OutOrStdout(), "LEVER_API_URL=http://%s/v1\n", l.Addr())
			return serveSandbox(cmd.Context(), l, lever)
		},
	}
	f := cmd.Flags()
	f.StringVar(&addr, "addr", "127.0.0.1:8088", "address to listen on")
	f.IntVar(&o.Opportunities, "opportunities", 1000, "opportunities in the account")
	f.Uint64Var(&o.Seed, "seed", 1, "what the data is generated from")
	f.Float64Var(&o.Rate, "rate", 10, "requests per second that are allowed, with a burst of twice as many; 0 = no limit")
	f.DurationVar(&o.Latency, "latency", 0, "time added to every answer")
	f.Float64Var(&o.ChangesPerMinute, "changes-per-minute", 0, "random changes made to the data")
	f.Float64Var(&o.Faults.ErrorRate, "error-rate", 0, "share of requests answered badly, from 0 to 1")
	f.StringToIntVar(&fail, "fail", nil, "endpoint=status: answer an endpoint with a status, for example /users=500")
	f.StringVar(&o.Token, "token", "", "the only API key to accept")
	return cmd
}

// notNegative checks the numbers of an account, which may also be no numbers.
func notNegative(o sandbox.Options) error {
	for _, n := range []float64{float64(o.Opportunities), o.Rate, o.Latency.Seconds(), o.ChangesPerMinute} {
		if !(n >= 0 && n <= math.MaxFloat64) { // n < 0 would let NaN pass
			return usageError{errors.New("--opportunities, --rate, --latency and --changes-per-minute must be numbers that are neither negative nor infinite")}
		}
	}
	return nil
}

// probed answers the probes of containers beside the API.
func probed(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }
	mux.HandleFunc("GET /livez", ok)
	mux.HandleFunc("GET /readyz", ok)
	mux.Handle("/", api)
	return mux
}

// statuses checks the endpoints that are to fail.
func statuses(fail map[string]int) (map[string]int, error) {
	for endpoint, status := range fail {
		if !strings.HasPrefix(endpoint, "/") || status < 400 || status > 599 {
			return nil, usageError{fmt.Errorf("--fail %s=%d: it takes an endpoint, such as /opportunities/:id/offers, and a status from 400 to 599", endpoint, status)}
		}
	}
	return fail, nil
}

// serveSandbox serves until ctx ends, and makes the changes meanwhile.
func serveSandbox(ctx context.Context, l net.Listener, lever *sandbox.Lever) error {
	srv := &http.Server{Handler: probed(lever), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	changing, stop := context.WithCancel(ctx)
	defer stop()
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		lever.Run(changing)
	}()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(closing) != nil {
			err = srv.Close()
		}
		if e := <-served; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
	}
	stop()
	<-changed
	return err
}
