package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/mask"
)

// complete fills in the defaults that depend on other variables.
func (c *Config) complete(tables []cdc.Table, ps *problems) {
	c.Lever.Tables = selected(c.Lever.Tables, tables, ps)
	k := &c.Kafka
	if k.BookmarksTopic == "" {
		k.BookmarksTopic = k.TopicPrefix + ".bookmarks"
	}
	if k.StateTopic == "" {
		k.StateTopic = k.TopicPrefix + ".state"
	}
	if !c.set["KAFKA_TLS"] {
		k.TLS = k.CAFile != "" || k.CertFile != "" || k.KeyFile != ""
	}
	if c.OAuth() && c.Lever.OAuthTokenURL == "" {
		c.Lever.OAuthTokenURL = tokenEndpoint(c.Lever.APIURL)
	}
	if c.Program.StateDir == "" {
		c.Program.StateDir = defaultStateDir()
	}
}

// OAuth says whether Lever is asked with OAuth instead of an API key.
func (c *Config) OAuth() bool {
	l := c.Lever
	return l.OAuthClientID != "" || l.OAuthClientSecret.IsSet() || l.OAuthRefreshToken.IsSet() || l.OAuthTokenFile != "" || c.set["LEVER_OAUTH_TOKEN_URL"]
}

// NoOAuth drops what is set for OAuth, so that Lever is asked with the API key.
func (c *Config) NoOAuth() {
	l := &c.Lever
	l.OAuthClientID, l.OAuthTokenFile, l.OAuthTokenURL = "", "", ""
	l.OAuthClientSecret, l.OAuthRefreshToken = Secret{}, Secret{}
	delete(c.set, "LEVER_OAUTH_TOKEN_URL")
}

// tokenEndpoint is Lever's for an API (lever-api.md 1.1), empty if the API is not Lever's.
func tokenEndpoint(api URL) URL {
	switch api.host() {
	case "api.lever.co":
		return "https://auth.lever.co/oauth/token"
	case "api.sandbox.lever.co":
		return "https://sandbox-lever.auth0.com/oauth/token"
	}
	return ""
}

// defaultStateDir returns a directory of this user's.
func defaultStateDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "leverstream")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("leverstream-%d", os.Getuid()))
}

// selected returns the names of the wanted tables in the order of the catalogue,
// all if none is named.
func selected(wanted []string, tables []cdc.Table, ps *problems) []string {
	const variable = "LEVER_TABLES"
	var known []string
	for _, t := range tables {
		known = append(known, t.Name)
	}
	want := map[string]bool{}
	for _, name := range items(strings.Join(wanted, ",")) {
		if !slices.Contains(known, name) {
			ps.addf(variable, "%q is not a table%s", name, orAll(didYouMean(strings.ToLower(name), known), known))
			continue
		}
		want[name] = true
	}
	if len(wanted) == 0 {
		return known
	}
	if len(want) == 0 && !ps.has(variable) {
		ps.addf(variable, "names no table%s", orAll("", known))
	}
	var names []string
	for _, t := range tables {
		if !want[t.Name] {
			continue
		}
		if t.Parent != "" && !want[t.Parent] {
			ps.addf(variable, "%s needs its parent %s; add %s", t.Name, t.Parent, t.Parent)
		}
		names = append(names, t.Name)
	}
	return names
}

func orAll(suggestion string, known []string) string {
	if suggestion == "" && len(known) > 0 {
		return "; use " + alternatives(known)
	}
	return suggestion
}

// check reports what is wrong with several variables together, and files that a
// needed system's variables name and that cannot be read.
func (c *Config) check(tables []cdc.Table, need Need, ps *problems) {
	c.checkTopics(tables, ps)
	c.checkTLS(ps)
	c.checkSASL(ps)
	c.checkMasks(tables, ps)
	c.checkCredentials(need, ps)
	if need&(NeedLever|NeedHTTP) != 0 {
		c.checkAdmin(ps)
	}
	if c.Registry.Username == "" && c.Registry.Password.IsSet() {
		ps.addf("SCHEMA_REGISTRY_USERNAME", "is not set, but the password is; set both or none")
	}
	if c.Registry.Username != "" && !c.Registry.Password.IsSet() {
		ps.addf("SCHEMA_REGISTRY_PASSWORD", "is not set, but the user name is; set both or none")
	}
	c.checkFiles(need, ps)
}

func (c *Config) checkTopics(tables []cdc.Table, ps *problems) {
	k := c.Kafka
	dlq := string(k.TopicPrefix) + ".dlq"
	taken := map[string]string{dlq: "the topic of rows that could not become an event"}
	longest := len(".bookmarks")
	for _, t := range tables {
		taken[string(k.TopicPrefix)+"."+t.Name] = "the topic of the table " + t.Name
		longest = max(longest, len(t.Name)+1)
	}
	if len(k.TopicPrefix)+longest > maxTopicName {
		ps.addf("KAFKA_TOPIC_PREFIX", "is too long; use at most %d characters, so that topics stay within Kafka's %d", maxTopicName-longest, maxTopicName)
	}
	if what, ok := taken[string(k.BookmarksTopic)]; ok {
		ps.addf("KAFKA_BOOKMARKS_TOPIC", "%s is %s; use a topic of its own", k.BookmarksTopic, what)
	}
	taken[string(k.BookmarksTopic)] = "the topic of the bookmarks"
	if what, ok := taken[string(k.StateTopic)]; ok {
		ps.addf("KAFKA_STATE_TOPIC", "%s is %s; use a topic of its own", k.StateTopic, what)
	}
	if k.ReplicationFactor == 0 && !ps.has("KAFKA_REPLICATION_FACTOR") {
		ps.addf("KAFKA_REPLICATION_FACTOR", "0 is out of range; use 1 or more, or -1 for the broker's default")
	}
}

// checkCredentials wants either an API key or all of OAuth.
func (c *Config) checkCredentials(need Need, ps *problems) {
	l := c.Lever
	if need&NeedLever == 0 {
		return
	}
	if !c.OAuth() {
		if !l.Token.IsSet() && !ps.has("LEVER_TOKEN") {
			ps.addf("LEVER_TOKEN", "is not set; it is required: API key (or set LEVER_TOKEN_FILE to the name of a file that holds it), unless LEVER_OAUTH_CLIENT_ID is used")
		}
		return
	}
	if l.Token.IsSet() {
		ps.addf("LEVER_TOKEN", "is set, and so is OAuth; keep one of them")
	}
	want := func(variable string, is bool, why string) {
		if !is && !ps.has(variable) {
			ps.addf(variable, "is not set; OAuth needs it: %s", why)
		}
	}
	want("LEVER_OAUTH_CLIENT_ID", l.OAuthClientID != "", "client id of the application")
	want("LEVER_OAUTH_CLIENT_SECRET", l.OAuthClientSecret.IsSet(), "client secret (or LEVER_OAUTH_CLIENT_SECRET_FILE)")
	want("LEVER_OAUTH_TOKEN_FILE", l.OAuthTokenFile != "", "Lever replaces the refresh token with each use, and a lost one cannot be recovered")
	want("LEVER_OAUTH_TOKEN_URL", l.OAuthTokenURL != "", "LEVER_API_URL is not Lever's, so the token endpoint is not known")
	if l.OAuthTokenFile == "" {
		return
	}
	if _, err := os.Stat(l.OAuthTokenFile); errors.Is(err, fs.ErrNotExist) {
		want("LEVER_OAUTH_REFRESH_TOKEN", l.OAuthRefreshToken.IsSet(), "there is no token in LEVER_OAUTH_TOKEN_FILE yet")
	}
	if info, err := os.Stat(filepath.Dir(l.OAuthTokenFile)); err != nil || !info.IsDir() {
		ps.addf("LEVER_OAUTH_TOKEN_FILE", "its directory %s does not exist", filepath.Dir(l.OAuthTokenFile))
	}
}

// leastHashKey is the length, in bytes, below which a key could be tried out.
const leastHashKey = 16

// checkMasks looks at the rules for fields. All tables may be named, selected or not.
func (c *Config) checkMasks(tables []cdc.Table, ps *problems) {
	if len(tables) == 0 {
		return // the command has no tables
	}
	check := func(variable string, patterns []string, a mask.Action) {
		for _, p := range mask.Match(tables, patterns, a) {
			suggestion := ""
			if p.Unknown {
				suggestion = didYouMean(p.Pattern, mask.Paths(tables))
			}
			ps.addf(variable, "%q %s%s", p.Pattern, p.Text, suggestion)
		}
	}
	check("LEVER_EXCLUDE_FIELDS", c.Lever.ExcludeFields, mask.Exclude)
	check("LEVER_HASH_FIELDS", c.Lever.HashFields, mask.Hash)
	if len(c.Lever.HashFields) == 0 || ps.has("LEVER_HASH_KEY") {
		return
	}
	key, err := c.Lever.HashKey.Read()
	switch {
	case err != nil:
		ps.addf("LEVER_HASH_KEY"+fileSuffix, "%v", err)
	case key == "":
		ps.addf("LEVER_HASH_KEY", "is not set; LEVER_HASH_FIELDS needs it (or LEVER_HASH_KEY_FILE, the name of a file that holds it)")
	case len(key) < leastHashKey:
		ps.addf("LEVER_HASH_KEY", "is too short to protect anything; use at least %d random characters", leastHashKey)
	}
}

func (c *Config) checkTLS(ps *problems) {
	k := c.Kafka
	if c.set["KAFKA_TLS"] && !k.TLS && !ps.has("KAFKA_TLS") && (k.CAFile != "" || k.CertFile != "" || k.KeyFile != "") {
		ps.addf("KAFKA_TLS", "is false, but certificates are given; set it to true or remove KAFKA_CA_FILE, KAFKA_CERT_FILE and KAFKA_KEY_FILE")
	}
	if k.CertFile != "" && k.KeyFile == "" {
		ps.addf("KAFKA_KEY_FILE", "is not set, but KAFKA_CERT_FILE is; set both or none")
	}
	if k.CertFile == "" && k.KeyFile != "" {
		ps.addf("KAFKA_CERT_FILE", "is not set, but KAFKA_KEY_FILE is; set both or none")
	}
}

func (c *Config) checkSASL(ps *problems) {
	const mechanism = "KAFKA_SASL_MECHANISM"
	k := c.Kafka
	if ps.has(mechanism) {
		return
	}
	if k.SASLMechanism == "" {
		if k.SASLUsername != "" || k.SASLPassword.IsSet() || k.SASLToken.IsSet() {
			ps.addf(mechanism, "is not set, but user name, password or token are; use PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
		}
		return
	}
	bearer, aws := k.SASLMechanism == saslOAuthBearer, k.SASLMechanism == saslAWS
	password := !bearer && !aws
	takes := func(variable string, does, is bool, orFile string) {
		switch {
		case does && !is && !ps.has(variable):
			ps.addf(variable, "is not set; %s needs it%s", k.SASLMechanism, orFile)
		case !does && is:
			ps.addf(variable, "is set, and %s takes none; remove it", k.SASLMechanism)
		}
	}
	takes("KAFKA_SASL_USERNAME", password, k.SASLUsername != "", "")
	takes("KAFKA_SASL_PASSWORD", password, k.SASLPassword.IsSet(), " (or KAFKA_SASL_PASSWORD_FILE, the name of a file that holds it)")
	takes("KAFKA_SASL_TOKEN", bearer, k.SASLToken.IsSet(), " (or KAFKA_SASL_TOKEN_FILE, the name of a file that holds it)")
	if aws && !k.TLS && !ps.has("KAFKA_TLS") {
		ps.addf("KAFKA_TLS", "is false, and AWS_MSK_IAM needs TLS; set it to true")
	}
}

// checkAdmin sees to it that nobody else on a network can steer the program.
func (c *Config) checkAdmin(ps *problems) {
	addr := string(c.Program.HTTPAddr)
	if addr == "" || ps.has("HTTP_ADDR") || ps.has("ADMIN_TOKEN") {
		return
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && !isLoopback(host) && !c.Program.AdminToken.IsSet() {
		ps.addf("ADMIN_TOKEN", "is not set, but HTTP_ADDR is not loopback; set it (or ADMIN_TOKEN_FILE), or use 127.0.0.1")
	}
}

// checkFiles reads the files once, so that a wrong name is reported now and not
// by the first connection.
func (c *Config) checkFiles(need Need, ps *problems) {
	secret := func(name string, s Secret) {
		if _, err := s.Read(); err != nil {
			ps.addf(name+fileSuffix, "%v", err)
		}
	}
	if need&NeedLever != 0 {
		secret("LEVER_TOKEN", c.Lever.Token)
		secret("LEVER_OAUTH_CLIENT_SECRET", c.Lever.OAuthClientSecret)
		secret("LEVER_OAUTH_REFRESH_TOKEN", c.Lever.OAuthRefreshToken)
	}
	if need&(NeedLever|NeedHTTP) != 0 {
		secret("ADMIN_TOKEN", c.Program.AdminToken)
	}
	if need&NeedKafka != 0 {
		secret("KAFKA_SASL_PASSWORD", c.Kafka.SASLPassword)
		secret("KAFKA_SASL_TOKEN", c.Kafka.SASLToken)
		if _, err := trusted(c.Kafka.CAFile); err != nil {
			ps.addf("KAFKA_CA_FILE", "%v", err)
		}
		if c.Kafka.CertFile != "" && c.Kafka.KeyFile != "" {
			if _, err := keyPair(c.Kafka.CertFile, c.Kafka.KeyFile); err != nil {
				ps.addf("KAFKA_CERT_FILE", "%v", err)
			}
		}
	}
	if need&NeedRegistry != 0 {
		secret("SCHEMA_REGISTRY_PASSWORD", c.Registry.Password)
		if _, err := trusted(c.Registry.CAFile); err != nil {
			ps.addf("SCHEMA_REGISTRY_CA_FILE", "%v", err)
		}
	}
}

// Warnings says what is allowed and probably not meant: credentials that cross a
// network in clear, a rate above Lever's own limit, a start in the future. Each names its
// variable.
func (c *Config) Warnings() []string {
	var ws []string
	if (c.Lever.Token.IsSet() || c.OAuth()) && c.Lever.APIURL.inClear() {
		ws = append(ws, "LEVER_API_URL is not https: the token crosses the network in clear")
	}
	if c.OAuth() && c.Lever.OAuthTokenURL.inClear() {
		ws = append(ws, "LEVER_OAUTH_TOKEN_URL is not https: client secret and refresh token cross the network in clear")
	}
	if host := c.Lever.APIURL.host(); host == "lever.co" || strings.HasSuffix(host, ".lever.co") {
		if c.Lever.Rate > leverRate {
			ws = append(ws, fmt.Sprintf("LEVER_RATE is above the %d requests per second that Lever allows a key: expect waiting", leverRate))
		}
		if c.Lever.Burst > leverBurst {
			ws = append(ws, fmt.Sprintf("LEVER_BURST is above the %d requests that Lever lets a key send at once: expect waiting", leverBurst))
		}
	}
	if start := c.Lever.StartDate; start.After(time.Now()) {
		ws = append(ws, "LEVER_START_DATE is in the future: until "+start.String()+" nothing of the CDC tables is replicated")
	}
	if c.Lever.HashKey.IsSet() && len(c.Lever.HashFields) == 0 {
		ws = append(ws, "LEVER_HASH_KEY is set, but LEVER_HASH_FIELDS is not: nothing is hashed")
	}
	if m := c.Kafka.SASLMechanism; (m == "PLAIN" || m == saslOAuthBearer) && !c.Kafka.TLS {
		ws = append(ws, "KAFKA_SASL_MECHANISM is "+m+" without KAFKA_TLS: the password or token crosses the network in clear")
	}
	if c.Registry.Password.IsSet() && c.Registry.URL.inClear() {
		ws = append(ws, "SCHEMA_REGISTRY_URL is not https: the password crosses the network in clear")
	}
	return ws
}

// Lever's documented limits of one key: requests per second, and at once.
const (
	leverRate  = 10
	leverBurst = 20
)
