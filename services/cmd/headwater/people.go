package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/services/internal/process"
	"headwater/web/access"
)

// tokenVariable is the environment variable that may hold the token. A flag would show it
// in the list of processes.
const tokenVariable = "HEADWATER_TOKEN"

// token returns the token to send, empty for none.
func (c cli) token() (string, error) {
	if c.TokenFile == "" {
		return os.Getenv(tokenVariable), nil
	}
	return process.ReadSecret(c.TokenFile)
}

// people calls the API of users and tokens.
func (c *client) people(ctx context.Context, method string, path []string, query url.Values, into any) error {
	at := c.base.JoinPath(append([]string{"api", "v1"}, path...)...)
	at.RawQuery = query.Encode()
	return c.send(ctx, method, at, nil, into)
}

// linkShown is what the dashboard answers about a new user, or a new password.
type linkShown struct{ Name, Link string }

// show prints a link for a person.
func (l linkShown) show(s *session) error {
	_, err := fmt.Fprintf(s.out, "%s sets a password with this link, once, within %s:\n%s\n", safe(l.Name), access.LinkValid, safe(l.Link))
	return err
}

type userAddCmd struct {
	Name string `arg:"" help:"Name to log in with."`
	Role string `help:"What the person may do." enum:"viewer,operator,administrator" default:"viewer"`
	sitesFlag
}

// sitesFlag limits an account.
type sitesFlag struct {
	Site []string `help:"Site that the account is limited to; again, or with commas, for more. All sites without it." placeholder:"SITE"`
}

// query returns the parameters of a new account.
func (f sitesFlag) query(name, role string) url.Values {
	return url.Values{"name": {name}, "role": {role}, "sites": f.Site}
}

// sitesOf are the sites that an account is limited to.
func sitesOf(sites []string) string {
	if len(sites) == 0 {
		return "all"
	}
	return safe(strings.Join(sites, ","))
}

// Run creates a user and prints the link that sets the password.
func (c *userAddCmd) Run(s *session) error {
	var made linkShown
	if err := s.client.people(s.ctx, http.MethodPost, []string{"users"}, c.query(c.Name, c.Role), &made); err != nil {
		return err
	}
	return made.show(s)
}

type userLsCmd struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run lists the users.
func (c *userLsCmd) Run(s *session) error {
	var all access.Accounts
	if err := s.client.people(s.ctx, http.MethodGet, []string{"users"}, nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return s.json(all.Users)
	}
	if len(all.Users) == 0 {
		_, err := fmt.Fprintln(s.out, "Nobody has an account, so nobody has to log in.")
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tSITES\tPASSWORD\tCREATED\tBY")
	for _, u := range all.Users {
		password := "set"
		if u.Waiting {
			password = "not yet"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", safe(u.Name), safe(u.Role), sitesOf(u.Sites), password, when(u.Created), safe(u.By))
	}
	return w.Flush()
}

// named are the names that a command is about.
type named struct {
	Names []string `arg:"" name:"name" help:"Names, as ls shows them."`
	Yes   bool     `short:"y" help:"Do not ask for confirmation."`
}

// each deletes what is named after a confirmation.
func (n named) each(s *session, kind, path string) error {
	if !n.Yes {
		if err := s.confirm(fmt.Sprintf("Delete %s?", count(len(n.Names), kind))); err != nil {
			return err
		}
	}
	var all error
	for _, name := range n.Names {
		if err := s.client.people(s.ctx, http.MethodDelete, []string{path, url.PathEscape(name)}, nil, nil); err != nil {
			all = errors.Join(all, fmt.Errorf("%s: %w", safe(name), err))
			continue
		}
		fmt.Fprintf(s.out, "%s is deleted\n", safe(name))
	}
	return all
}

type userRmCmd struct {
	named `embed:""`
}

// Run deletes users, who are logged out at once.
func (c *userRmCmd) Run(s *session) error { return c.each(s, "user", "users") }

type userResetCmd struct {
	Name string `arg:"" help:"Name of the user."`
}

// Run ends the password and all sessions of a user, and prints a link that sets another
// password.
func (c *userResetCmd) Run(s *session) error {
	var made linkShown
	if err := s.client.people(s.ctx, http.MethodPost, []string{"users", url.PathEscape(c.Name), "reset"}, nil, &made); err != nil {
		return err
	}
	return made.show(s)
}

type tokenAddCmd struct {
	Name  string `arg:"" help:"Name of the token, which lists of changes show."`
	Role  string `help:"What a program with the token may do." enum:"viewer,operator,administrator" default:"viewer"`
	Valid string `help:"How long it is valid, such as 30d, or forever." default:"90d"`
	sitesFlag
}

// Run creates a token and prints it, alone, so that it can be sent to a file.
func (c *tokenAddCmd) Run(s *session) error {
	var made struct{ Token string }
	q := c.query(c.Name, c.Role)
	q.Set("valid", c.Valid)
	if err := s.client.people(s.ctx, http.MethodPost, []string{"tokens"}, q, &made); err != nil {
		return err
	}
	fmt.Fprintln(s.err, "The token is not shown again:")
	_, err := fmt.Fprintln(s.out, safe(made.Token))
	return err
}

type tokenLsCmd struct {
	JSON bool `name:"json" help:"Write JSON."`
}

// Run lists the tokens.
func (c *tokenLsCmd) Run(s *session) error {
	var all access.Accounts
	if err := s.client.people(s.ctx, http.MethodGet, []string{"tokens"}, nil, &all); err != nil {
		return err
	}
	if c.JSON {
		return s.json(all.Tokens)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tROLE\tSITES\tEXPIRES\tCREATED\tBY")
	for _, t := range all.Tokens {
		expires := when(t.Expires)
		switch {
		case t.Expires.IsZero():
			expires = "never"
		case t.Expires.Before(time.Now()):
			expires += " (expired)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", safe(t.Name), safe(t.Role), sitesOf(t.Sites), expires, when(t.Created), safe(t.By))
	}
	return w.Flush()
}

type tokenRmCmd struct {
	named `embed:""`
}

// Run deletes tokens, which are refused at once.
func (c *tokenRmCmd) Run(s *session) error { return c.each(s, "token", "tokens") }
