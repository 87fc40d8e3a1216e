package pipeline

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/lever"
	"github.com/leverstream/leverstream/internal/mask"
	"github.com/leverstream/leverstream/internal/publish"
)

// The functions here make of a configuration what the packages below want to know.
// Commands that do not replicate use them, too.

// Tables returns the selected tables of the catalogue.
func Tables(c *config.Config) []cdc.Table {
	return slices.DeleteFunc(extractor.Tables(), func(t cdc.Table) bool { return !slices.Contains(c.Lever.Tables, t.Name) })
}

// Lever returns a client of the account. Its rate limit is its own: use one for each
// process. Version is the program's; attempts is how often a failing request is sent, 0
// for lever.DefaultAttempts.
func Lever(c *config.Config, clock *cdc.Clock, version string, attempts int, log *slog.Logger) (*lever.Client, error) {
	var oauth *lever.OAuth
	if c.OAuth() {
		oauth = lever.NewOAuth(lever.OAuthConfig{
			ClientID: c.Lever.OAuthClientID, ClientSecret: c.Lever.OAuthClientSecret.Read, RefreshToken: c.Lever.OAuthRefreshToken.Read,
			TokenFile: c.Lever.OAuthTokenFile, TokenURL: string(c.Lever.OAuthTokenURL),
		})
	}
	return lever.New(lever.Config{
		BaseURL: string(c.Lever.APIURL), Token: c.Lever.Token.Read, OAuth: oauth,
		Rate: c.Lever.Rate, Burst: c.Lever.Burst, Concurrency: c.Lever.Concurrency,
		Clock: clock, UserAgent: "leverstream/" + version, Logger: log, Attempts: attempts,
	})
}

// Registry returns a client of the schema registry that the configuration names.
func Registry(c *config.Config, log *slog.Logger) (*avro.Registry, error) {
	opts, err := c.Registry.Opts()
	if err != nil {
		return nil, err
	}
	trust := c.Registry.Trust()
	if _, err := trust(); err != nil {
		return nil, err
	}
	return avro.NewRegistry(c.Registry.Register, log, trust, opts...)
}

// Masks returns the rules by which fields are left out or hashed.
func Masks(c *config.Config) (*mask.Rules, error) {
	key, err := c.Lever.HashKey.Read()
	if err != nil {
		return nil, fmt.Errorf("LEVER_HASH_KEY_FILE: %w", err)
	}
	rules, err := mask.New(extractor.Tables(), c.Lever.ExcludeFields, c.Lever.HashFields, key)
	if err != nil {
		return nil, fmt.Errorf("LEVER_EXCLUDE_FIELDS, LEVER_HASH_FIELDS: %w", err)
	}
	return rules, nil
}

// Writer returns the configuration of the writer, without what only a run knows:
// Registry, Confidentiality, Clock, Stats, whose instance it is and what it is asked to do,
// and who wants to be told of what.
func Writer(c *config.Config, version string, log *slog.Logger) (publish.Config, error) {
	kafka, err := c.Kafka.Opts()
	if err != nil {
		return publish.Config{}, err
	}
	masks, err := Masks(c)
	if err != nil {
		return publish.Config{}, err
	}
	api, err := url.Parse(string(c.Lever.APIURL))
	if err != nil {
		return publish.Config{}, fmt.Errorf("LEVER_API_URL: %w", err)
	}
	wc := publish.Config{
		Account: string(c.Lever.Account), Prefix: string(c.Kafka.TopicPrefix),
		BookmarksTopic: string(c.Kafka.BookmarksTopic), StateTopic: string(c.Kafka.StateTopic),
		Tables: Tables(c), Kafka: kafka,
		Partitions: c.Kafka.Partitions, ReplicationFactor: c.Kafka.ReplicationFactor,
		TopicConfig: c.Kafka.TopicConfig, Compression: c.Kafka.Compression,
		Format: Format(c.Events), KeyFormat: KeyFormat(c.Events),
		StateDir: c.Program.StateDir, APIHost: api.Host, StartDate: c.Lever.StartDate.String(),
		Masks:   masks,
		Version: version, Logger: log,
	}
	if c.Lever.Candidates == native {
		wc.Candidates = native
	}
	return wc, nil
}
