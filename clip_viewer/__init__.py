"""The labelling page: to come. It will see the label store and the words, nothing else of ours."""
