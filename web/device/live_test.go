package device

import "testing"

func TestPointsAreOneLine(t *testing.T) {
	got := points([]Point{{Metric: "a\nb", TimeMS: 1_700_000_000_000, Value: 1.5}, {Metric: "c", TimeMS: 2, Value: -1}})
	if len(got) != 1 || string(got[0].Data) != `{"a\nb":[[1700000000000,1.5]],"c":[[2,-1]]}` {
		t.Errorf("%s", got)
	}
}
