package view

import (
	"context"
	"slices"
)

// Role is what a person or a program may do. Each role may do what those before it
// may.
type Role int

const (
	// roleUndeclared is the zero Role. It may do nothing, and no route may have it.
	roleUndeclared Role = iota
	// RolePublic needs no log-in.
	RolePublic
	// RoleViewer sees everything that Headwater measures and decides.
	RoleViewer
	// RoleOperator also handles what happens: mutes, redrives, tries rules on the past.
	RoleOperator
	// RoleAdministrator also changes what is watched and who may log in, and deletes.
	RoleAdministrator
)

// Roles are the roles that a person or a token may have, the least first.
var Roles = []Role{RoleViewer, RoleOperator, RoleAdministrator}

var roleNames = map[Role]string{RolePublic: "public", RoleViewer: "viewer", RoleOperator: "operator", RoleAdministrator: "administrator"}

// String returns the name of the role, in lower case; empty for the zero Role.
func (r Role) String() string { return roleNames[r] }

// Declared reports whether r is a role at all.
func (r Role) Declared() bool { return r > roleUndeclared && r <= RoleAdministrator }

// ParseRole returns the role of that name that a person or a token may have.
func ParseRole(name string) (Role, bool) {
	i := slices.IndexFunc(Roles, func(r Role) bool { return r.String() == name })
	if i < 0 {
		return roleUndeclared, false
	}
	return Roles[i], true
}

// Principal is who sends a request. The zero Principal is nobody.
type Principal struct {
	// Name is the name of the account, or "token " and the name of a token. It is empty
	// while no log-in is required.
	Name string
	Role Role
	// Sites are the sites that the principal is limited to; none means all sites.
	Sites []string
	// Person reports whether a person has logged in, who can log out.
	Person bool
	// Open reports whether everybody is an administrator, because no log-in is
	// required.
	Open bool
}

// May reports whether the principal has at least that role.
func (p Principal) May(role Role) bool {
	return role == RolePublic || role.Declared() && p.Role >= role
}

// SeesSite reports whether the principal may see a site.
func (p Principal) SeesSite(site string) bool {
	return len(p.Sites) == 0 || slices.Contains(p.Sites, site)
}

// Limited reports whether the principal is limited to sites.
func (p Principal) Limited() bool { return len(p.Sites) > 0 }

// Anonymous is the principal of every request while no log-in is required.
func Anonymous() Principal { return Principal{Role: RoleAdministrator, Open: true} }

type principalKey struct{}

// WithPrincipal returns a context in which pages are rendered for a principal.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// PrincipalOf returns who a request comes from, or whom a page is rendered for; nobody
// if the context does not say.
func PrincipalOf(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// May reports whether the reader of a page has at least that role.
func May(ctx context.Context, role Role) bool { return PrincipalOf(ctx).May(role) }

// Limited reports whether the reader of a page is limited to sites.
func Limited(ctx context.Context) bool { return PrincipalOf(ctx).Limited() }
