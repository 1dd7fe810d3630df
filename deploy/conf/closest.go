package conf

// maxClosest bounds the names that Closest compares, bytes.
const maxClosest = 256

// Closest returns the one of names that text was most likely meant to be: the one with the fewest
// changed bytes (two swapped neighbours count once), if those are at most a third of it, and the
// first of several; "" if there is none.
func Closest(text string, names []string) string {
	best, fewest := "", max(1, len(text)/3)+1
	for _, name := range names {
		if name == text || len(text) > maxClosest || len(name) > maxClosest || max(len(name)-len(text), len(text)-len(name)) >= fewest {
			continue
		}
		if n := changes(text, name); n < fewest {
			best, fewest = name, n
		}
	}
	return best
}

// changes is the optimal string alignment distance.
func changes(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i+2)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
