package app

import (
	"context"
	"errors"
	"net/http"

	"headwater/web/view"
)

// Role is what a principal may do.
type Role = view.Role

// The roles that a route may declare.
const (
	Public        = view.RolePublic
	Viewer        = view.RoleViewer
	Operator      = view.RoleOperator
	Administrator = view.RoleAdministrator
)

// Principal is who sends a request.
type Principal = view.Principal

// PrincipalOf returns who a request comes from; the zero Principal is nobody.
func PrincipalOf(ctx context.Context) Principal { return view.PrincipalOf(ctx) }

// ErrNobody is returned by a Gate for a request without a valid log-in or token.
var ErrNobody = errors.New("not logged in")

// Gate knows who sends a request.
type Gate interface {
	// Authenticate returns who sends a request: view.Anonymous while no log-in is
	// required, ErrNobody if nobody has logged in or no longer, and any other error
	// while that cannot be known.
	Authenticate(r *http.Request) (Principal, error)
}

// open is the gate of a dashboard without accounts.
type open struct{}

// Authenticate implements Gate.
func (open) Authenticate(*http.Request) (Principal, error) { return view.Anonymous(), nil }
