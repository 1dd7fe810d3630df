package query

import (
	"encoding/json"
	"testing"

	"github.com/weir-metrics/weir/schemas"
)

// TestAggregateBodyHasAllColumns: a window in JSON has the count, and each of schemas.Columns under its name.
func TestAggregateBodyHasAllColumns(t *testing.T) {
	a := schemas.Aggregate{Count: 3}
	for i, v := range a.Numbers() {
		*v = float64(10 + i)
	}
	b, err := json.Marshal(newAggregateBody(&a))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]float64
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got["count"] != 3 || len(got) != 1+len(schemas.Columns) {
		t.Errorf("%s, want the count 3 and %v", b, schemas.Columns)
	}
	for i, name := range schemas.Columns {
		if got[name] != float64(10+i) {
			t.Errorf("%s is %v, want %d", name, got[name], 10+i)
		}
	}
}
