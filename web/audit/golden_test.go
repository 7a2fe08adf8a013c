package audit_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/audit"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		entries, err := s.Audit(t.Context(), audit.Query{Size: 50})
		if err != nil {
			return nil
		}
		return map[string]templ.Component{"audit": audit.Page(audit.Facts{Entries: entries})}
	})
}
