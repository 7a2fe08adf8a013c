package web

import (
	"log/slog"

	"headwater/web/app"
)

// AllRoutes are all routes, for tests that call them from outside.
func AllRoutes() []app.Route {
	source := newSource()
	return routes(Config{}, app.New(app.Config{}, source, slog.New(slog.DiscardHandler)), source.sources())
}
