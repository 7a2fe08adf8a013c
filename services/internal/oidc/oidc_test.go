package oidc

import (
	"strings"
	"testing"
)

func TestPerson(t *testing.T) {
	groups := Config{RoleClaim: "groups", Roles: []string{"ops=operator", "admins=administrator", "a=b=viewer"}}
	everybody := Config{RoleClaim: "groups", Roles: []string{"ops=operator", "*=viewer"}}
	nested := Config{RoleClaim: "realm_access.roles", Roles: []string{"ops=operator"}}
	domain := Config{RoleClaim: "groups", Domains: []string{"example.org"}}
	type claims = map[string]any
	for name, c := range map[string]struct {
		cfg        Config
		claims     claims
		role, user string
		refused    string
	}{
		"one group":          {cfg: groups, claims: claims{"groups": []any{"ops"}, "preferred_username": "Ada"}, role: "operator", user: "ada"},
		"the highest counts": {cfg: groups, claims: claims{"groups": []any{"admins", "ops"}}, role: "administrator", user: "s-1"},
		"a text":             {cfg: groups, claims: claims{"groups": "a=b"}, role: "viewer", user: "s-1"},
		"others":             {cfg: groups, claims: claims{"groups": []any{"admin", 7, nil}}, refused: "--oidc-roles"},
		"none":               {cfg: groups, claims: claims{}, refused: "--oidc-roles"},
		"an odd claim":       {cfg: groups, claims: claims{"groups": claims{"ops": true}}, refused: "--oidc-roles"},
		"everybody else":     {cfg: everybody, claims: claims{"groups": []any{"x"}, "email": "jo.smith@example.org"}, role: "viewer", user: "jo-smith"},
		"not everybody":      {cfg: everybody, claims: claims{"groups": []any{"ops"}}, role: "operator", user: "s-1"},
		"* is no group":      {cfg: groups, claims: claims{"groups": []any{"*"}}, refused: "--oidc-roles"},
		"nested":             {cfg: nested, claims: claims{"realm_access": claims{"roles": []any{"ops"}}}, role: "operator", user: "s-1"},
		"with a dot":         {cfg: nested, claims: claims{"realm_access.roles": []any{"ops"}}, role: "operator", user: "s-1"},
		"not nested":         {cfg: nested, claims: claims{"realm_access": "ops"}, refused: "realm_access.roles"},
		"domain":             {cfg: domain, claims: claims{"email": "ada@EXAMPLE.org", "email_verified": true}, role: "viewer", user: "ada"},
		"verified as a text": {cfg: domain, claims: claims{"email": "ada@example.org", "email_verified": "true"}, role: "viewer", user: "ada"},
		"two domains":        {cfg: domain, claims: claims{"email": "ada@example.org@evil.example", "email_verified": true}, refused: "--oidc-domains"},
		"unverified":         {cfg: domain, claims: claims{"email": "ada@example.org"}, refused: "not verified"},
		"odd names":          {cfg: everybody, claims: claims{"preferred_username": "../\u202e", "email": "--"}, role: "viewer", user: "s-1"},
		"long name":          {cfg: everybody, claims: claims{"preferred_username": strings.Repeat("Ä1", 500)}, role: "viewer", user: "1" + strings.Repeat("-1", 29)},
	} {
		p, err := c.cfg.person("https://id.example.org", "S.1", c.claims)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
			continue
		}
		if err != nil || p.Role != c.role || p.Name != c.user || p.Subject != "https://id.example.org S.1" {
			t.Errorf("%s: %+v, %v, want %s as %s", name, p, err, c.user, c.role)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Issuer: "https://id.example.org/realm", ClientID: "headwater", RoleClaim: "groups", Roles: []string{"*=viewer"}}
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"good":         {func(*Config) {}, ""},
		"off":          {func(c *Config) { *c = Config{} }, ""},
		"loopback":     {func(c *Config) { c.Issuer = "http://127.0.0.1:5556/dex" }, ""},
		"plain HTTP":   {func(c *Config) { c.Issuer = "http://id.example.org" }, "https://"},
		"no client":    {func(c *Config) { c.ClientID = "" }, "client-id"},
		"odd role":     {func(c *Config) { c.Roles = []string{"x=root"} }, "root"},
		"no role":      {func(c *Config) { c.Roles = []string{"x"} }, "VALUE=ROLE"},
		"odd domain":   {func(c *Config) { c.Domains = []string{"@example.org"} }, "domain"},
		"nobody named": {func(c *Config) { c.Roles = nil }, "who may log in"},
		"by domain":    {func(c *Config) { c.Roles, c.Domains = nil, []string{"example.org"} }, ""},
	} {
		cfg := good
		c.change(&cfg)
		if err := cfg.Validate(); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Config{Issuer: good.Issuer, ClientID: "x", RoleClaim: "groups", Roles: good.Roles, SecretFile: t.TempDir() + "/none"}); err == nil || !strings.Contains(err.Error(), "--oidc-client-secret-file") {
		t.Errorf("without the file of the secret: %v", err)
	}
}
