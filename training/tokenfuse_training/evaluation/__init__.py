"""Any model asked any data set: who answers, what is asked, how right it is, how sure the mean."""
