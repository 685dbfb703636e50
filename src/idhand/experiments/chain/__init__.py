"""The paper's whole chain on one data set, stage by stage; each is kept and not done twice."""
