package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

func checkLever(ctx context.Context, r *report, c *config.Config, version string, log *slog.Logger) {
	const credentials = "credentials"
	api, err := pipeline.Lever(c, cdc.NewClock(), version, leverAttempts, log)
	if err != nil {
		r.add(Failed, credentials, err.Error(), "")
		return
	}
	defer api.Close()
	tables := pipeline.Tables(c)
	confidentiality, err := extractor.Confidentiality(ctx, api, tables, c.Lever.Confidential)
	var access []extractor.Access
	if err == nil {
		access = extractor.Probe(ctx, api, tables, c.Lever.Candidates == "native", confidentiality)
		err = unusable(access)
	}
	switch {
	case errors.Is(err, cdc.ErrUnauthorized):
		r.add(Failed, credentials, err.Error(), credentialsFix(c))
		return
	case errors.Is(err, cdc.ErrUnavailable):
		r.add(Failed, "API", err.Error(), "check LEVER_API_URL, proxies and Lever's status page")
		return
	case errors.Is(err, cdc.ErrNotFound):
		r.add(Failed, "API", err.Error(), "check LEVER_API_URL, which is the root of the API, such as https://api.lever.co/v1")
		return
	case err != nil && access == nil:
		r.add(Failed, "confidential rows", err.Error(), "")
		return
	}
	r.okf(credentials, "accepted by %s", c.Lever.APIURL)
	switch {
	case confidentiality == "all":
		r.okf("confidential rows", "the key may see them")
	case c.Lever.Confidential == "auto":
		r.add(Warning, "confidential rows", "the key may not see them; they are left out (LEVER_CONFIDENTIAL=auto)",
			"use a key that was made with the confidential grant (it cannot be added later), or set LEVER_CONFIDENTIAL=exclude if they are not wanted")
	default:
		r.okf("confidential rows", "left out (LEVER_CONFIDENTIAL=exclude)")
	}
	for _, a := range access {
		reportAccess(r, a)
	}
	stats := api.Stats()
	if stats.RateLimited > 0 {
		r.add(Warning, "rate limit", fmt.Sprintf("Lever answered 429 to %d of %d requests at up to %g a second", stats.RateLimited, stats.Total(), c.Lever.Rate),
			"something else uses this key: give the producer a key of its own, or set LEVER_RATE to its share")
		return
	}
	r.okf("rate limit", "no 429 in %d requests; LEVER_RATE allows %g a second, %d at once", stats.Total(), c.Lever.Rate, c.Lever.Burst)
}

// unusable returns the error of an endpoint that speaks of all of them.
func unusable(access []extractor.Access) error {
	failed, missing, asked := 0, 0, 0
	var last error
	for _, a := range access {
		if a.Asked {
			asked++
		}
		switch {
		case errors.Is(a.Err, cdc.ErrUnauthorized):
			return a.Err
		case errors.Is(a.Err, cdc.ErrUnavailable):
			failed++
			last = a.Err
		case errors.Is(a.Err, cdc.ErrNotFound):
			missing++
			last = a.Err
		}
	}
	if failed > 0 && failed == len(access) || missing > 0 && missing == asked {
		return last
	}
	return nil
}

func reportAccess(r *report, a extractor.Access) {
	name := "GET " + a.Path
	feeds := strings.Join(a.Tables, ", ")
	switch {
	case !a.Asked:
		r.add(Warning, name, "not asked, because there is no record to ask for; feeds "+feeds, "run check again when the account has an opportunity")
	case a.Err == nil, errors.Is(a.Err, cdc.ErrNotFound):
		// An empty list may be a 404.
		r.okf(name, "permitted; feeds %s", feeds)
	case errors.Is(a.Err, cdc.ErrForbidden):
		r.add(Failed, name, "forbidden; not read: "+feeds, "give the key read permission for this endpoint, or leave these tables out of LEVER_TABLES")
	default:
		r.add(Failed, name, a.Err.Error(), "try again; if it stays, ask Lever")
	}
}

func credentialsFix(c *config.Config) string {
	if c.OAuth() {
		return "check the client id and secret; if the refresh token was refused, or an answer of the token endpoint was lost, authorise the application in Lever again and put the new refresh token into LEVER_OAUTH_REFRESH_TOKEN: it replaces what is in LEVER_OAUTH_TOKEN_FILE"
	}
	return "put a valid API key into LEVER_TOKEN or the file that LEVER_TOKEN_FILE names"
}
