mod plan_bad_input;
mod plan_documents;
mod plan_examples;
mod plan_graph;
mod plan_hostile;
